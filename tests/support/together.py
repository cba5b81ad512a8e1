"""Both nets over given sources, for test_names.py and deletions.py."""

from support import call_net, nets
from support.infer import ROUNDS, Types
from support.project import Project


def findings(sources):
    """All that the nets report."""
    project = Project(sources)
    types = Types(project)
    return [*nets.names(project, types), *call_net.calls(project, types)]


def new_findings(sources, known):
    """What the cheapest net that has any reports beside `known`: first without following arguments into functions."""
    project = Project(sources)
    for rounds in (0, ROUNDS):
        types = Types(project, rounds)
        parts = (nets.bare_names(project), nets.imports(project), nets.attributes(project, types))
        if rounds:
            parts = (*parts, nets.unknown_receivers(project, types), call_net.calls(project, types))
        found = [finding for part in parts for finding in part if finding not in known]
        if found:
            return found
    return []
