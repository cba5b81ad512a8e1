#!/usr/bin/env python3
"""A run as one HTML page: settings, curves, IoU by class, confusion matrix, best and worst images.

    python scripts/report.py runs/demo                       # writes runs/demo/report.html
    python scripts/report.py runs/demo --output demo.html

RUN_DIR is the --snapshot-dir of a training or the --save-dir of an evaluation. The page lists the parts that are
missing in RUN_DIR. It opens from disk and loads nothing from the network.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run_dir", metavar="RUN_DIR", help="--snapshot-dir of train.py or --save-dir of evaluate.py")
    parser.add_argument("--output", metavar="HTML", help="default: RUN_DIR/report.html")
    args = parser.parse_args()

    from utils.pages.report import write_report

    print(f"report: {write_report(args.run_dir, args.output)}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"report.py: {error}")
