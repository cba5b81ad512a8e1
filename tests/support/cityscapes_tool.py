"""The official evaluation of Cityscapes (cityscapesscripts), as its users call it."""

import json

NAMES = ["road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"]
NAMES += ["terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]


def run_official(run_command, data, results, export):
    """csEvalPixelLevelSemanticLabeling, as its users call it. -> its JSON"""
    env = {"CITYSCAPES_DATASET": str(data), "CITYSCAPES_RESULTS": str(results), "CITYSCAPES_EXPORT_DIR": str(export)}
    module = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
    # it uses np.in1d, which recent versions of NumPy have removed
    code = "import numpy, runpy, sys; numpy.in1d = numpy.isin; runpy.run_module(sys.argv.pop(1), run_name='__main__')"
    done = run_command("python", "-c", code, module, env=env)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    return json.loads((export / "resultPixelLevelSemanticLabeling.json").read_text())
