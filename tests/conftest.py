"""What holds for every test, however the tests were started.

Property tests draw the same examples each time, so that a red run can be run again. A shell without job control starts
what runs in the background deaf to SIGINT, and whatever the tests start would inherit that: no container does.
"""

import signal

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
signal.signal(signal.SIGINT, signal.default_int_handler)
