"""What every implementation of a port must do, as tests to inherit (they need pytest).

Whoever writes another request store, use ledger or log store subclasses the contract in a test module,
says how to open one, and runs pytest; placet's own implementations pass the very same tests.

    from placet.testing.contracts.request_store import RequestStoreContract

    class TestMyStore(RequestStoreContract):
        def open_store(self, place): ...

For assertions that explain themselves, write ``pytest.register_assert_rewrite("placet.testing.contracts")``
into ``conftest.py``.

Modules:
    log_store: for `placet.ports.log_store.LogStore`.
    request_store: for `placet.ports.request_store.RequestStore`.
    use_ledger: for `placet.ports.use_ledger.UseLedger`.
"""
