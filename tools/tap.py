"""Reading TAP: what ran, what failed, and what a stream that ended badly hides."""
import re
from collections import namedtuple

# verdict: "pass", "fail" or "skip"; details: the comment lines before a failure.
Result = namedtuple("Result", "stream name verdict details")

_LINE = re.compile(r"(not )?ok\b\s*(\d+)?\s*(?:-\s*)?(.*?)(?:\s+#\s*(skip|todo)\b.*)?$", re.IGNORECASE)
_PLAN = re.compile(r"1\.\.(\d+)\b")


def parse(stream, text, status):
    """The results in @text, TAP mixed with other output, of a program that ended with exit @status.

    A program that was stopped has no exit status but words, why. What makes a stream untrustworthy is a failure of its own: no plan, fewer or more tests than planned, Bail out!, an exit status
    that no failed test explains.
    """
    results, comments, planned, bail = [], [], None, None
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and line.startswith(("ok", "not ok")):
            bad, number, name, directive = match.groups()
            verdict = "skip" if directive else "fail" if bad else "pass"
            results.append(Result(stream, name or f"test {number}", verdict, comments if verdict == "fail" else []))
            comments = []
        elif _PLAN.match(line) and planned is None:
            planned = int(_PLAN.match(line).group(1))
        elif line.startswith("Bail out!"):
            bail = line
        elif line.strip():
            comments = (comments + [line])[-40:]

    wrong = None
    if bail:
        wrong = bail
    elif isinstance(status, str):
        wrong = f"{status}; {len(results)} of {planned or '?'} tests ran, the last line was: {comments[-1] if comments else results[-1].name if results else 'none'}"
    elif planned is None:
        wrong = f"no plan; exit status {status}"
    elif planned != len(results):
        wrong = f"{planned} tests planned, {len(results)} ran; exit status {status}"
    elif status != 0 and not any(r.verdict == "fail" for r in results):
        wrong = f"exit status {status}, though no test failed"
    elif planned == 0:
        wrong = "no test in it"
    if wrong:
        results.append(Result(stream, wrong, "fail", comments))
    return results


def count(results):
    """(passed, failed, skipped)"""
    verdicts = [r.verdict for r in results]
    return verdicts.count("pass"), verdicts.count("fail"), verdicts.count("skip")
