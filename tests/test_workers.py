"""The parts of preforked servers by themselves: shared numbers, places, gates."""

import errno
import os
import random
import signal
import socket
import threading
from collections import Counter

import pytest

import echoservers
from echoservers.activity import ActiveRequest
from echoservers.counters import BYTES_IN, MESSAGES, new_cells
from echoservers.workers.board import REASONS, Board, CellsToLend, SharedActivity
from echoservers.workers.gates import FlockGate, HandedOver, MutexGate, hand_over
from echoservers.workers.places import Places, SourceTable
from support import PATIENCE, children_of, connect, echo, state_of, wait_until

# --- the board --------------------------------------------------------------------------


def request_of(activity: SharedActivity, source: str | None = None) -> ActiveRequest:
    return activity.begin(object(), ("127.0.0.1", 1), source)


def test_what_one_process_counts_all_see() -> None:
    board = Board(4, 10)
    first, second = SharedActivity(board, 1), SharedActivity(board, 2)
    record = request_of(first)
    first.count_in(record, new_cells())
    assert record.cells is not None
    record.cells[MESSAGES] += 3
    second.loop_cells[BYTES_IN] += 5
    second.refuse("max_connections")
    second.at_once += 2
    for activity in (first, second):
        stats = activity.stats()
        assert (stats["accepted"], stats["active"], stats["closed"]) == (4, 1, 2)
        assert (stats["messages"], stats["bytes_in"]) == (3, 5)
        assert stats["refused"] == {"max_connections": 1}
    assert first.end(record)
    assert not first.end(record)
    assert (board.stats()["active"], board.stats()["closed"], board.stats()["messages"]) == (
        0,
        3,
        3,
    )


@pytest.mark.parametrize("aborted", [False, True])
def test_the_numbers_of_a_process_outlive_it_and_nothing_stays_active(aborted: bool) -> None:
    board = Board(3, 10)
    worker = SharedActivity(board, 1)
    ended, cut, given_up = (request_of(worker) for _ in range(3))
    for record in (ended, cut):
        worker.count_in(record, new_cells())
        assert record.cells is not None
        record.cells[MESSAGES] = 7
    worker.end(ended)
    worker.give_up(given_up, "no_worker")
    assert board.retire(1, aborted) == 1
    stats = board.stats()
    assert (stats["accepted"], stats["active"], stats["closed"]) == (3, 0, 2)
    assert (stats["messages"], stats["errors"]) == (14, 0 if aborted else 1)
    assert stats["refused"] == {"no_worker": 1}
    assert sum(board.column("aborted")) == aborted
    assert board.retire(1, aborted) == 0  # a slot is empty for its next process
    assert board.stats() == stats


def test_cells_are_lent_again_and_beyond_their_number_a_request_has_its_own() -> None:
    board = Board(2, 2)
    worker = SharedActivity(board, 1)
    for _ in range(3):
        records = [request_of(worker) for _ in range(4)]
        for record in records:
            worker.count_in(record, new_cells())
            assert record.cells is not None
            assert not any(record.cells)
            record.cells[MESSAGES] = 1
        for record in records:
            worker.end(record)
    assert board.stats()["messages"] == 12


def test_who_sees_a_request_over_sees_its_numbers_once() -> None:
    board = Board(2, 2)
    worker = SharedActivity(board, 1)
    request = request_of(worker)
    cells = worker.cells_to_lend.take()  # as for a child of the worker
    assert cells is not None
    request.cells = cells
    cells[MESSAGES] = 3
    assert worker.end(request)
    assert board.closed() == 1
    assert board.stats()["messages"] == 3, "before the cells are given back, too"
    worker.cells_to_lend.give_back(cells)
    assert board.stats()["messages"] == 3


def test_a_child_beyond_them_has_none_to_give_back() -> None:
    store = CellsToLend(Board(2, 2), 1)
    taken = [store.take() for _ in range(3)]
    assert taken[2] is None
    for cells in taken:
        store.give_back(cells)
    assert [cells is None for cells in (store.take(), store.take(), store.take())] == [
        False,
        False,
        True,
    ]


def test_reasons_are_counted_by_name_and_their_number_is_bounded() -> None:
    reasons = Board(2, 1).reasons(1)
    assert (reasons["never"], dict(reasons)) == (0, {})
    reasons["first"] += 1
    reasons["first"] += 1
    assert dict(reasons) == {"first": 2}
    for number in range(2 * REASONS):
        reasons[f"reason {number} " + "x" * 100] += 1
    assert len(reasons) == REASONS
    reasons.clear()
    assert dict(reasons) == {}


# --- places -----------------------------------------------------------------------------


def test_processes_that_take_places_at_once_never_have_more_than_there_are() -> None:
    board = Board(8, 1)
    places = Places(board, 100, None)
    taken = board.column("refused")  # a number for each process, for this test
    children = []
    for slot in range(1, 8):
        pid = os.fork()
        if pid == 0:
            for _ in range(200):
                taken[slot] += places.take(slot)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert sum(taken) == sum(board.column("places")) == 100
    held = board.column("places")
    holder = next(slot for slot in range(1, 8) if held[slot])  # not all need have got one
    other = holder % 7 + 1
    assert not places.take(holder)
    places.wait(other)
    assert places.leave(holder)
    assert places.left(other) == held[other] + 1
    assert places.take(other)
    assert not places.leave(other)
    places.close()


def test_a_table_of_sources_counts_as_a_counter_does() -> None:
    table = SourceTable(30, 4)
    counts: Counter[tuple[int, str]] = Counter()
    chance = random.Random(7)
    for _ in range(5000):
        slot, source = chance.randrange(4), f"10.0.0.{chance.randrange(12)}"
        there = sum(counts[s, source] for s in range(4))
        if chance.random() < 0.5 and sum(counts.values()) < 30:
            assert table.enter(slot, source, 3) == (there < 3)
            counts[slot, source] += there < 3
        elif counts[slot, source]:
            table.exit(slot, source)
            counts[slot, source] -= 1
        if chance.random() < 0.01:
            table.evict(slot)
            counts = Counter({key: n for key, n in counts.items() if key[0] != slot})
    table.exit(0, "unknown")


# --- gates ------------------------------------------------------------------------------


def test_one_process_at_a_time_has_the_record_lock_until_it_dies() -> None:
    gate = FlockGate()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        gate.take()
        os.write(write, b"x")
        signal.pause()
        os._exit(0)
    os.read(read, 1)
    assert not gate.take()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert gate.take()
    gate.release()
    for close in (gate.close, lambda: os.close(read), lambda: os.close(write)):
        close()


def test_the_master_puts_the_token_of_a_dead_worker_back_and_only_then() -> None:
    board = Board(3, 1)
    mine, theirs = MutexGate(board), board.column("gate")
    mine.slot = 1
    assert mine.take()
    assert not mine.take()
    theirs[1] = MutexGate._HOLDS
    mine.holder_died(2)  # it had nothing
    assert not mine.take()
    theirs[1], theirs[2] = MutexGate._HOLDS, MutexGate._TRIES
    mine.holder_died(2)  # it tried, but another has it
    assert not mine.take()
    theirs[1] = MutexGate._HOLDS
    mine.holder_died(1)
    assert mine.take()
    mine.release()
    theirs[2] = MutexGate._TRIES
    mine.holder_died(2)  # nobody else has it: it may have been lost, one too many does no harm
    assert mine.take()
    assert not mine.take()
    mine.close()


def test_a_connection_handed_over_is_the_same_one() -> None:
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener_of_worker = HandedOver(theirs)
        lost: list[str] = []
        listener_of_worker.on_lost = lost.append
        with pytest.raises(BlockingIOError):
            listener_of_worker.accept()
        with socket.create_connection(listener.getsockname()) as client:
            with listener.accept()[0] as accepted:
                assert hand_over(ours, accepted)
            connection, address = listener_of_worker.accept()
            with connection:
                assert address == client.getsockname()
                assert not os.get_inheritable(connection.fileno())
                client.sendall(b"hello")
                assert connection.recv(5) == b"hello"
    ours.send(b"c")  # with nothing, as it comes where no descriptor is left
    with pytest.raises(OSError, match="handed over") as no_descriptor:
        listener_of_worker.accept()
    assert no_descriptor.value.errno == errno.EMFILE
    with socket.socket() as unconnected:
        assert hand_over(ours, unconnected)
    with pytest.raises(ConnectionAbortedError, match="peer has gone") as peer_gone:
        listener_of_worker.accept()
    assert peer_gone.value.errno == errno.ECONNABORTED
    assert lost == ["no_descriptor", "peer_gone"]
    ours.close()
    with pytest.raises(ConnectionAbortedError, match="nobody hands") as over:
        listener_of_worker.accept()
    assert over.value.errno == errno.ECONNABORTED
    assert listener_of_worker.fileno() == -1
    with socket.socket() as other:
        assert not hand_over(theirs, other)


# --- without process descriptors --------------------------------------------------------


def test_workers_that_cannot_be_watched_are_replaced_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pidfd_open(_pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    before = set(children_of(os.getpid()))
    with echoservers.create_server("prefork-tcp", ("127.0.0.1", 0), workers=2) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert server.wait_until_started(PATIENCE)
        first = set(children_of(os.getpid())) - before
        assert len(first) == 2
        os.kill(min(first), signal.SIGKILL)
        wait_until(lambda: not state_of(min(first)), "it is reaped", 1)
        with connect(server) as client:
            echo(client)
            client.shutdown(socket.SHUT_RDWR)
        server.shutdown()
        thread.join(PATIENCE)
    assert set(children_of(os.getpid())) == before
    assert server.stats()["active"] == server.stats()["errors"] == 0
