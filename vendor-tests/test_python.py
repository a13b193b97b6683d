"""python-socketio against the same servers: the synchronous and the asyncio client, over each transport."""

import asyncio
import queue
from contextlib import asynccontextmanager, contextmanager

import pytest
import socketio
from conftest import until
from engineio.payload import Payload

# The client refuses more packets than these in one answer to a poll; a server sends all that waits.
Payload.max_decode_packets = 10_000

TRANSPORTS = pytest.mark.parametrize("transports", [["polling"], ["websocket"], None], ids=["polling", "websocket", "upgrade"])
VALUES = [
    1, -1.5, True, None, "", "žluťoučký кот てすと 😀", [], {}, {"a": [1, {"b": None}]}, b"", b"\x00\x01\xff", {"nested": [b"a", {"c": b"b"}]},
]
# The client escapes what is not ASCII, and a POST holds at most 1,000,000 bytes, binary ones as base64.
LARGE = ["0123456789€" * 55_000, bytes(range(256)) * 2_800]
RETURNING = {"reconnection_delay": 0.05, "reconnection_delay_max": 0.2}


class Heard:
    """What a client was told, by the name of the event."""

    def __init__(self, client, *events, namespace="/"):
        self.queues = {event: queue.Queue() for event in events}
        for event in events:
            client.on(event, lambda *args, event=event: self.queues[event].put(args), namespace=namespace)

    def next(self, event):
        return self.queues[event].get(timeout=5)

    async def anext(self, event):
        return await asyncio.to_thread(self.next, event)


@contextmanager
def connected(server, transports, *events, client=None, **options):
    client = client or socketio.Client(reconnection=False)
    heard = Heard(client, *events)
    client.connect(server.url, transports=transports, wait_timeout=5, **options)
    try:
        if transports is None:
            until("the upgrade", lambda: client.transport() == "websocket")
        yield client, heard
    finally:
        client.disconnect()


@asynccontextmanager
async def aconnected(server, transports, *events, client=None, **options):
    client = client or socketio.AsyncClient(reconnection=False)
    heard = Heard(client, *events)
    await client.connect(server.url, transports=transports, wait_timeout=5, **options)
    try:
        if transports is None:
            await asyncio.to_thread(until, "the upgrade", lambda: client.transport() == "websocket")
        yield client, heard
    finally:
        await client.disconnect()


# ---- the synchronous client


@TRANSPORTS
def test_auth_arrives_after_the_connect(echo, transports):
    with connected(echo, transports, "auth", auth={"token": "později"}) as (client, heard):
        assert heard.next("auth") == ({"token": "později"},)
        assert client.get_sid() != client.eio.sid


@TRANSPORTS
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back(echo, transports, value):
    with connected(echo, transports, "message-back") as (client, heard):
        client.emit("message", ("first", value))
        assert heard.next("message-back") == ("first", value)
        assert client.call("message-with-ack", (value, "last"), timeout=5) == (value, "last")


@TRANSPORTS
def test_large_values_come_back(suite, transports):
    with connected(suite, transports) as (client, _):
        for value in LARGE:
            assert client.call("echo", value, timeout=10) == value


@TRANSPORTS
def test_many_events_come_back_in_order(echo, transports):
    with connected(echo, transports, "message-back") as (client, heard):
        for i in range(300):
            client.emit("message", b"%d" % i if i % 5 == 0 else i)
        back = [heard.next("message-back")[0] for _ in range(300)]
        assert [int(value) for value in back] == list(range(300))


@TRANSPORTS
def test_a_call_that_nobody_answers_times_out(echo, transports):
    with connected(echo, transports) as (client, _):
        with pytest.raises(socketio.exceptions.TimeoutError):
            client.call("unknown", timeout=0.2)


@TRANSPORTS
def test_two_namespaces(echo, transports):
    client = socketio.Client(reconnection=False)
    heard = {nsp: Heard(client, "auth", namespace=nsp) for nsp in ["/", "/custom"]}
    with connected(echo, transports, client=client, namespaces=["/", "/custom"], auth={"a": 1}):
        assert heard["/"].next("auth") == ({"a": 1},)
        assert heard["/custom"].next("auth") == ({"a": 1},)
        assert client.get_sid("/") != client.get_sid("/custom")


@TRANSPORTS
def test_an_unknown_namespace_is_refused(echo, transports):
    client = socketio.Client(reconnection=False)
    refused = queue.Queue()
    client.on("connect_error", refused.put, namespace="/nowhere")
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(echo.url, transports=transports, namespaces=["/nowhere"], wait_timeout=2)
    assert refused.get(timeout=5) == {"message": "Invalid namespace"}
    client.disconnect()


@TRANSPORTS
def test_a_refusing_namespace(suite, transports):
    client = socketio.Client(reconnection=False)
    refused = queue.Queue()
    client.on("connect_error", refused.put, namespace="/no")
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(suite.url, transports=transports, namespaces=["/no"], wait_timeout=2)
    assert refused.get(timeout=5) == {"message": "Auth failed (custom namespace)"}
    client.disconnect()


@TRANSPORTS
def test_the_server_asks_for_an_acknowledgement(suite, transports):
    with connected(suite, transports, "got it") as (client, heard):
        client.on("ack", lambda *_: (5, {"test": True}))
        client.emit("ack")
        heard.next("got it")


@TRANSPORTS
def test_a_client_stays_through_pings(echo, transports):
    with connected(echo, transports) as (client, _):
        client.sleep(1.2)  # four pings
        assert client.call("message-with-ack", "still here", timeout=5) == "still here"


@TRANSPORTS
def test_rooms(rooms, transports):
    with connected(rooms, transports, "message") as (one, heard_one), connected(rooms, ["websocket"], "message") as (two, heard_two):
        for client in (one, two):
            assert client.call("join", "python", timeout=5)["ok"] is True
        assert "python" in one.call("rooms", timeout=5)["rooms"]
        assert one.call("message", {"room": "python", "text": "hello"}, timeout=5)["ok"] is True
        for heard in (heard_one, heard_two):
            message, *_offset = heard.next("message")
            assert (message["room"], message["from"], message["text"]) == ("python", one.get_sid(), "hello")
        assert two.call("leave", "python", timeout=5)["ok"] is True
        rooms.type("sendroom python from the console")
        assert heard_one.next("message")[0]["text"] == "from the console"
        rooms.type("broadcast to all")
        for heard in (heard_one, heard_two):
            message, *_offset = heard.next("message")
            assert (message["room"], message["from"], message["text"]) == (None, "server:py", "to all")
        assert one.call("join", 5, timeout=5)["ok"] is False


@TRANSPORTS
def test_the_client_returns_after_stop_and_start(own_rooms, transports):
    client = socketio.Client(**RETURNING)
    connects, disconnects = queue.Queue(), queue.Queue()
    client.on("connect", lambda: connects.put(True))
    client.on("disconnect", disconnects.put)
    with connected(own_rooms, transports, "message", client=client) as (_, heard):
        connects.get(timeout=5)
        for round in ["one", "two"]:
            own_rooms.type("stop")
            reason = disconnects.get(timeout=10)
            assert "client disconnect" not in reason
            own_rooms.type("start")
            if "server" in reason:  # a close packet, which only polling has: this client wants to be told to return
                until("the server is back", own_rooms.is_back)
                client.connect(own_rooms.url, transports=transports, wait_timeout=5)
            connects.get(timeout=15)
            own_rooms.type(f"broadcast back {round}")
            while heard.next("message")[0]["text"] != f"back {round}":
                pass


@TRANSPORTS
def test_the_client_returns_as_a_new_one_after_a_kill(own_rooms, transports):
    client = socketio.Client(**RETURNING)
    connects, disconnects = queue.Queue(), queue.Queue()
    client.on("connect", lambda: connects.put(client.get_sid()))
    client.on("disconnect", disconnects.put)
    with connected(own_rooms, transports, "message", client=client) as (_, heard):
        former = connects.get(timeout=5)
        assert client.call("join", "python", timeout=5)["ok"] is True
        own_rooms.kill_and_start()
        assert disconnects.get(timeout=10) == "transport error"
        assert connects.get(timeout=15) != former
        # This client knows of no recovery: who it was is forgotten, and it joins its rooms again.
        assert client.call("rooms", timeout=5)["rooms"] == []
        assert client.call("join", "python", timeout=5)["ok"] is True
        assert client.call("message", {"room": "python", "text": "back"}, timeout=5)["ok"] is True
        assert heard.next("message")[0]["text"] == "back"
        if transports is None:
            until("the upgrade", lambda: client.transport() == "websocket")


# ---- the asyncio client


@TRANSPORTS
def test_asyncio_values_auth_and_order(echo, transports):
    async def scenario():
        async with aconnected(echo, transports, "auth", "message-back", auth={"token": 1}) as (client, heard):
            assert await heard.anext("auth") == ({"token": 1},)
            for value in VALUES:
                await client.emit("message", ("first", value))
                assert await heard.anext("message-back") == ("first", value)
                assert await client.call("message-with-ack", (value, "last"), timeout=5) == (value, "last")
            for i in range(300):
                await client.emit("message", i)
            assert [(await heard.anext("message-back"))[0] for _ in range(300)] == list(range(300))
            with pytest.raises(socketio.exceptions.TimeoutError):
                await client.call("unknown", timeout=0.2)

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_large_values(suite, transports):
    async def scenario():
        async with aconnected(suite, transports) as (client, _):
            for value in LARGE:
                assert await client.call("echo", value, timeout=10) == value

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_refusals(echo, transports):
    async def scenario():
        client = socketio.AsyncClient(reconnection=False)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(echo.url, transports=transports, namespaces=["/nowhere"], wait_timeout=2)
        await client.disconnect()

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_rooms_of_twenty_clients(rooms, transports):
    async def scenario():
        clients = [socketio.AsyncClient(reconnection=False) for _ in range(20)]
        heard = [Heard(client, "message") for client in clients]
        await asyncio.gather(*(client.connect(rooms.url, transports=transports, wait_timeout=5) for client in clients))
        answers = await asyncio.gather(*(client.call("join", f"room {i % 2}", timeout=5) for i, client in enumerate(clients)))
        assert all(answer["ok"] for answer in answers)
        await clients[0].call("message", {"room": "room 1", "text": "odd"}, timeout=5)
        await clients[1].call("message", {"text": "all"}, timeout=5)
        for i in range(20):
            texts = ["odd", "all"] if i % 2 else ["all"]
            assert [(await heard[i].anext("message"))[0]["text"] for _ in texts] == texts
        await asyncio.gather(*(client.disconnect() for client in clients))

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_the_client_returns_after_stop_and_start(own_rooms, transports):
    async def scenario():
        client = socketio.AsyncClient(**RETURNING)
        connects, disconnects = queue.Queue(), queue.Queue()
        client.on("connect", lambda: connects.put(True))
        client.on("disconnect", disconnects.put)
        async with aconnected(own_rooms, transports, "message", client=client) as (_, heard):
            await asyncio.to_thread(connects.get, timeout=5)
            own_rooms.type("stop")
            reason = await asyncio.to_thread(disconnects.get, timeout=10)
            assert "client disconnect" not in reason
            own_rooms.type("start")
            if "server" in reason:
                await asyncio.to_thread(until, "the server is back", own_rooms.is_back)
                await client.connect(own_rooms.url, transports=transports, wait_timeout=5)
            await asyncio.to_thread(connects.get, timeout=15)
            own_rooms.type("broadcast back")
            while (await heard.anext("message"))[0]["text"] != "back":
                pass

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_the_client_returns_as_a_new_one_after_a_kill(own_rooms, transports):
    async def scenario():
        client = socketio.AsyncClient(**RETURNING)
        connects, disconnects = queue.Queue(), queue.Queue()
        client.on("connect", lambda: connects.put(client.get_sid()))
        client.on("disconnect", disconnects.put)
        async with aconnected(own_rooms, transports, "message", client=client) as (_, heard):
            former = await asyncio.to_thread(connects.get, timeout=5)
            assert (await client.call("join", "python", timeout=5))["ok"] is True
            await asyncio.to_thread(own_rooms.kill_and_start)
            assert await asyncio.to_thread(disconnects.get, timeout=10) == "transport error"
            assert await asyncio.to_thread(connects.get, timeout=15) != former
            assert (await client.call("rooms", timeout=5))["rooms"] == []
            assert (await client.call("join", "python", timeout=5))["ok"] is True
            assert (await client.call("message", {"room": "python", "text": "back"}, timeout=5))["ok"] is True
            assert (await heard.anext("message"))[0]["text"] == "back"

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_two_namespaces(echo, transports):
    async def scenario():
        client = socketio.AsyncClient(reconnection=False)
        heard = {nsp: Heard(client, "auth", namespace=nsp) for nsp in ["/", "/custom"]}
        async with aconnected(echo, transports, client=client, namespaces=["/", "/custom"], auth={"a": 1}):
            for nsp in heard:
                assert await heard[nsp].anext("auth") == ({"a": 1},)
            assert client.get_sid("/") != client.get_sid("/custom")

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_the_server_asks_for_an_acknowledgement(suite, transports):
    async def scenario():
        async with aconnected(suite, transports, "got it") as (client, heard):
            client.on("ack", lambda *_: (5, {"test": True}))
            await client.emit("ack")
            await heard.anext("got it")

    asyncio.run(scenario())


@TRANSPORTS
def test_asyncio_rooms(rooms, transports):
    async def scenario():
        async with aconnected(rooms, transports, "message") as (one, heard_one), aconnected(rooms, ["websocket"], "message") as (two, heard_two):
            for client in (one, two):
                assert (await client.call("join", "asyncio", timeout=5))["ok"] is True
            assert (await one.call("rooms", timeout=5))["rooms"] == ["asyncio"]
            await one.emit("message", {"room": "asyncio", "text": "hello"})
            for heard in (heard_one, heard_two):
                message, *_offset = await heard.anext("message")
                assert (message["room"], message["from"], message["text"]) == ("asyncio", one.get_sid(), "hello")
            assert (await two.call("leave", "asyncio", timeout=5))["ok"] is True
            rooms.type("sendroom asyncio from the console")
            assert (await heard_one.anext("message"))[0]["text"] == "from the console"
            assert (await two.call("rooms", timeout=5))["rooms"] == []
            assert heard_two.queues["message"].empty()

    asyncio.run(scenario())
