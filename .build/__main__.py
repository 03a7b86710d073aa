"""The first lines that `python app.pyz` runs. They parse on any Python, so an old one gets a sentence, not a traceback."""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write("app.pyz: Python 3.11 or later is needed, and this is %d.%d\n" % sys.version_info[:2])
    sys.exit(2)

if __name__ == "__main__":  # and not when multiprocessing imports it again in a child
    import _start

    _start.main()
