"""Which tests of tests/unit run inside a kernel: all but those that tests/meson.build lists as host_only, each with its reason."""
import re
from pathlib import Path

_LIST = re.compile(r"^host_only = \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^  '([^']+)': '([^']*)',$", re.MULTILINE)
_TEST = re.compile(r"^TEST\((\w+)\)", re.MULTILINE)


def host_only(tests):
    """{path: reason} from @tests/meson.build; a path is a file or a whole folder."""
    found = _LIST.search((tests / "meson.build").read_text())
    return dict(_ENTRY.findall(found.group(1))) if found else {}


def complaints(tests, ran):
    """What is wrong with the list, beside the names of the tests that @ran in a kernel."""
    tests, ran, wrong = Path(tests), set(ran), []
    listed, used = host_only(tests), set()
    for path in sorted((tests / "unit").rglob("*.c")):
        name = str(path.relative_to(tests))
        here = [entry for entry in listed if name == entry or name.startswith(entry + "/")]
        used.update(here)
        inside = [test for test in _TEST.findall(path.read_text()) if test in ran]
        outside = [test for test in _TEST.findall(path.read_text()) if test not in ran]
        if here and inside:
            wrong.append(f"{name} is listed as host_only, and {inside[0]} ran in the kernel")
        if outside and not here:
            wrong.append(f"{name} is not listed as host_only, and {outside[0]} did not run in the kernel")
    wrong += [f"host_only lists {entry}, which is not there" for entry in listed if entry not in used]
    wrong += [f"host_only gives no reason for {entry}" for entry, reason in listed.items() if not reason.strip()]
    return wrong if listed else ["tests/meson.build has no list host_only"]
