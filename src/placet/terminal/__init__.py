"""The approval terminal: shows requests to a person, in full, and lets them decide with their key.

It stands on a machine apart from the one that builds, asks or executes.  Nothing that it is sent is
trusted: it verifies a request as the gate would, renders every leaf of it, computes the challenge from
the very bytes that it rendered, and adds its own report to the signature.

    screen       what a person sees, as data; the page and the text terminal render the same
    text         the screen as plain text
    desk         one person's decisions: open, begin, finish, put aside, history
    sources      where requests come from and answers go: a relay, or files
    credentials  credential IDs, the terminal's secrets
    history      what was decided here
    web          the guarded HTTP door: Host, Origin, Sec-Fetch-Site, token, content policy
    desk_app     the approval page
    server       loopback sockets and the life of the server

To drive a terminal from another program::

    with TerminalServer(create_desk_app(desk, guard), port=8470) as server:
        browser.open(guard.launch_url)

The page's stable element ids are ``approve``, ``deny``, ``later`` and ``status``.
"""
