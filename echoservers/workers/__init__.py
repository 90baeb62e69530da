"""What preforked servers are made of; `echoservers.models.prefork` puts it together.

- ``board``: the numbers that all workers share, in memory mapped before they are forked
- ``places``: limits that hold over all workers together
- ``gates``: who accepts next
- ``team``: the master's workers: started, watched, replaced, ended
- ``pulse``: which of them stand still
- ``orphans``: children of a worker that end with it
- ``link``: a worker's tie to its master
- ``side``: what a server does otherwise when it is a worker
"""
