"""Hours of work, in which memory, handles, threads and temporary files must stay level.

python -m tests.soak                                          # all, two hours of stream
python -m tests.soak stream clips --minutes 20 --clips 200    # parts of it
"""
