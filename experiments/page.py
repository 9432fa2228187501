"""`python -m experiments.page`: write every page of docs/results that is made from experiments/results."""

import sys

from experiments.analysis.page import main as write_pages
from experiments.suite.iterate import write_iterate_page
from experiments.suite.page import write_page, write_readme

if __name__ == "__main__":
    write_page()
    write_iterate_page()
    write_readme()
    sys.exit(write_pages())
