"""A process that reads ahead dies: one line that says why and what to do."""

import os
import signal

import pytest
from torch.utils.data import DataLoader, Dataset

from sali.data.datasets import lost_worker


class Dying(Dataset):
    def __init__(self, number):
        self.number = number

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGBUS, "--shm-size=8g"), (signal.SIGKILL, "lack of memory")]
)
def test_the_signal_says_what_ran_out(number, said):
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Dying(number), num_workers=1))
    line = lost_worker(caught.value, "data.")
    assert said in line and "data.num_workers=0" in line and "\n" not in line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("unable to allocate shared memory(shm) for file </torch_9>: No space left", "--shm-size"),
        ("received 0 items of ancdata", "ulimit -n"),
        ("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback", None),
        ("mat1 and mat2 shapes cannot be multiplied", None),
    ],
)
def test_other_errors_stay_what_they_are(error, said):
    line = lost_worker(RuntimeError(error))
    assert line is None if said is None else said in line
