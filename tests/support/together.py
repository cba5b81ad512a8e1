"""All checks on given sources, for test_nets.py and deletions.py."""

from support import call_net, nets
from support.infer import ROUNDS, Types
from support.project import Project


def findings(sources):
    """All findings of the checks in nets.py and call_net.py."""
    project = Project(sources)
    types = Types(project)
    return [*nets.names(project, types), *call_net.calls(project, types)]


def new_findings(sources, known):
    """Findings that are not in `known`, of the cheapest check that has any: first without inferring parameters."""
    project = Project(sources)
    for rounds in (0, ROUNDS):
        types = Types(project, rounds)
        parts = (nets.bare_names(project), nets.imports(project), nets.attributes(project, types))
        if rounds:
            parts = (*parts, nets.unknown_receivers(project, types), call_net.calls(project, types))
        new = [finding for part in parts for finding in part if finding not in known]
        if new:
            return new
    return []
