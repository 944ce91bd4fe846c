"""What a process of a node sets up for itself."""

import subprocess
import sys

import pytest

WORK = """
import resource, threading
from node import processes
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    answer = b"".join([bytes(1000) for _ in range(2000)])
    del answer
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def work():
    found.extend(faults() for _ in range(9))
found = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(sorted(found)[4])
"""


def faults(first: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(first=first)], capture_output=True, check=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's allocator")
def test_the_memory_of_a_long_answer_is_used_again_for_the_next() -> None:
    assert faults("processes._keep_memory()") < faults("") / 10
