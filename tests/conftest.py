"""Settings of every test run.

Property tests draw the same examples in each run, so that a failed run can be repeated. A shell without job control
starts background processes with SIGINT ignored. Child processes of the tests would inherit that, unlike processes in a
container, so SIGINT gets its default handler here.
"""

import signal

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
signal.signal(signal.SIGINT, signal.default_int_handler)
