"""The supervisor behind daemon.py: it starts main.py, guards it, writes its log, and answers for it.

Two halves that share only files, the lock and signals:

    client.py    start, stop, restart, status: short-lived, may be slow and import what it likes
    loop.py      the supervisor itself: lives for months, so it imports little and wakes rarely

    files.py     what lies in CACHE_DIR        lock.py      the lock, which is the truth
    identity.py  is that PID ours?             handover.py  what client hands to loop
    logfile.py   the only writer of the log    child.py     main as a process
    tail.py      daemon.py logs                notify.py    words to systemd
"""
