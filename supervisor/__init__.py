"""The supervisor behind daemon.py: it starts main.py, guards it, writes its log, and answers for it.

Two halves that share only files, the lock and signals:

    client.py    start, stop, restart, status: short-lived, may be slow and import what it likes
    loop.py      the supervisor itself: lives for months, so it imports little and wakes rarely

    files.py     what lies in CACHE_DIR        lock.py      the lock, which is the truth
    identity.py  is that PID ours?             handover.py  what client hands to loop
    presence.py  how others find the supervisor
    claim.py     taking CACHE_DIR, or who has it
    logfile.py   the only writer of the log    child.py     main as a process
    tail.py      daemon.py logs                notify.py    words to systemd
    status.py    daemon.py status               report.py   words to a waiting start
    commands.py  the command line
"""
