"""Running programs side by side: a pool with as many places as there are CPUs, programs that wait for others, time limits, and what is going on.

A limit is a hang detector and no speed test: a program that meets it is asked to end (SIGTERM, on which tests/tap_main.c says which test it was in), then
killed, and what it has said until then is kept.
"""
import heapq
import os
import signal
import subprocess
import threading
import time

CPUS = os.cpu_count() or 1
GRACE = 10


class Job:
    """A program: @stream names it, @argv and @env run it, done(job, text, status, seconds) is told how it ended and may return more jobs.

    It starts when the jobs in @after have ended, none of the same @alone runs and @places of the pool are free; where several could, the one of the highest @rank.
    """
    def __init__(self, stream, argv, done, env=None, places=1, limit=None, rank=0, after=(), alone=None, cwd=None):
        self.stream, self.argv, self.done, self.env = stream, [str(a) for a in argv], done, env or {}
        self.places, self.limit, self.rank, self.after, self.alone = min(places, CPUS), limit, rank, list(after), alone
        self.cwd = cwd
        self.ended = False
        self.lines = []
        self.process = None

    def run(self):
        """Return: (output, exit status, or how long it was given before it was stopped)"""
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env={**os.environ, **self.env}, cwd=self.cwd, start_new_session=True)
        stopped = []
        timers = []
        for seconds, number in ((self.limit, signal.SIGTERM), ((self.limit or 0) + GRACE, signal.SIGKILL)):
            if self.limit:
                timers.append(threading.Timer(seconds, lambda number=number: (stopped.append(number), self.signal(number))))
                timers[-1].daemon = True
                timers[-1].start()
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").replace("\r", ""))
        status = self.process.wait()
        for timer in timers:
            timer.cancel()
        return "".join(self.lines), f"TIMEOUT: stopped after {self.limit} s" if stopped else status

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def progress(self):
        ran = sum(line.startswith(("ok ", "not ok ")) for line in self.lines)
        return f"{self.stream} ({ran} tests so far)" if ran else self.stream


class Pool:
    def __init__(self, say):
        self.say = say
        self.changed = threading.Condition()
        self.waiting, self.running, self.total, self.free = [], [], 0, CPUS
        self.number = 0
        self.failure = None

    def add(self, jobs):
        for job in jobs:
            self.number += 1
            self.total += 1
            heapq.heappush(self.waiting, (-job.rank, self.number, job))

    def next(self):
        """The first that may start. A wide one does not hold up a narrow one behind it."""
        busy = {job.alone for job in self.running if job.alone}
        for entry in sorted(self.waiting):
            job = entry[2]
            if job.places <= self.free and job.alone not in busy and all(other.ended for other in job.after):
                self.waiting.remove(entry)
                heapq.heapify(self.waiting)
                return job
        return None

    def work(self, job):
        start = time.monotonic()
        try:
            text, status = job.run()
            with self.changed:
                self.add(job.done(job, text, status, time.monotonic() - start) or [])
        except BaseException as error:  # whatever it is, it ends the run
            self.failure = self.failure or error
        with self.changed:
            job.ended = True
            self.free += job.places
            self.running.remove(job)
            self.changed.notify_all()

    def run(self, jobs):
        """Run @jobs and all that come of them. What a job's done() raises ends everything and is raised here."""
        self.add(jobs)
        told = time.monotonic()
        try:
            with self.changed:
                while (self.waiting or self.running) and self.failure is None:
                    job = self.next()
                    if job:
                        self.free -= job.places
                        self.running.append(job)
                        threading.Thread(target=self.work, args=(job,), daemon=True).start()
                        continue
                    if not self.running:
                        raise RuntimeError("jobs that wait for each other: " + ", ".join(entry[2].stream for entry in self.waiting))
                    self.changed.wait(timeout=1)
                    if time.monotonic() - told >= 20:
                        told = time.monotonic()
                        ended = self.total - len(self.waiting) - len(self.running)
                        self.say(f"  ... {ended} of {self.total} ended; running: " + ", ".join(job.progress() for job in self.running))
        finally:
            for job in self.running:
                if job.process:
                    job.signal(signal.SIGKILL)
        if self.failure is not None:
            raise self.failure
