// The points with socket.io-client-java. What it prints is told in ../../harness/foreign.js.

import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Socket;
import java.net.URI;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.json.JSONArray;
import org.json.JSONObject;

public class Points {
  static final String TRANSPORT = System.getenv("TRANSPORT");

  /** A connection and what it has heard, by the name of the event. */
  static class Client {
    final Socket socket;
    final BlockingQueue<Object[]> heard = new LinkedBlockingQueue<>();

    Client(String url, String... events) {
      IO.Options options = new IO.Options();
      options.forceNew = true;
      options.transports = TRANSPORT.equals("upgrade") ? new String[] {"polling", "websocket"} : new String[] {TRANSPORT};
      options.reconnectionDelay = 50;
      options.reconnectionDelayMax = 200;
      socket = IO.socket(URI.create(url), options);
      for (String event : events) on(event);
      on(Socket.EVENT_CONNECT);
      on(Socket.EVENT_CONNECT_ERROR);
      on(Socket.EVENT_DISCONNECT);
      socket.connect();
    }

    void on(String event) {
      socket.on(event, args -> {
        Object[] all = new Object[args.length + 1];
        all[0] = event;
        System.arraycopy(args, 0, all, 1, args.length);
        heard.add(all);
      });
    }

    Object[] next(String event) throws Exception {
      for (;;) {
        Object[] all = heard.poll(10, TimeUnit.SECONDS);
        if (all == null) throw new Exception("no " + event);
        if (all[0].equals(event)) return all;
      }
    }

    JSONObject text(String text) throws Exception {
      for (;;) {
        JSONObject message = (JSONObject) next("message")[1];
        if (message.getString("text").equals(text)) return message;
      }
    }

    Object ask(String event, Object... args) throws Exception {
      BlockingQueue<Object[]> answers = new LinkedBlockingQueue<>();
      socket.emit(event, args, (Ack) answers::add);
      Object[] answer = answers.poll(10, TimeUnit.SECONDS);
      if (answer == null) throw new Exception("no answer to " + event);
      return answer[0];
    }

    List<Object> rooms() throws Exception {
      JSONArray rooms = ((JSONObject) ask("rooms")).getJSONArray("rooms");
      return rooms.length() == 0 ? List.of() : List.of(rooms.get(0));
    }
  }

  static void check(boolean holds, String what) throws Exception {
    if (!holds) throw new Exception(what);
  }

  static void say(String line) {
    System.out.println(line);
  }

  public static void main(String[] arguments) {
    try {
      suite(System.getenv("SUITE_URL"));
      rooms(System.getenv("ROOMS_URL"));
      System.exit(0);
    } catch (Exception error) {
      error.printStackTrace();
      System.exit(1);
    }
  }

  static void suite(String url) throws Exception {
    Client main = new Client(url, "takebin", "jsonbuff-ack", "got it");
    main.next("connect");
    for (Object value : new Object[] {1, -1.5, true, "", "žluťoučký кот てすと 😀", "x".repeat(100_000)}) {
      check(main.ask("echo", value).equals(value), "echo of " + value);
    }
    JSONObject nested = new JSONObject("{\"a\":[1,{\"b\":null}]}");
    check(main.ask("echo", nested).toString().equals(nested.toString()), "echo of an object");
    say("ok acks");

    byte[] bytes = {0, 1, 2, -2, -1};
    JSONObject deep = new JSONObject().put("deep", new JSONArray().put(bytes));
    JSONObject back = (JSONObject) main.ask("echo", deep);
    check(Arrays.equals((byte[]) back.getJSONArray("deep").get(0), bytes), "echo of binary");
    main.socket.emit("getbin");
    check(new String((byte[]) main.next("takebin")[1]).equals("asdfasdf"), "takebin");
    main.socket.emit("jsonbuff", new JSONObject().put("hello", "lol").put("message", bytes).put("goodbye", "gotcha"));
    main.next("jsonbuff-ack");
    say("ok binary");

    main.socket.on("ack", args -> ((Ack) args[args.length - 1]).call(5, new JSONObject(java.util.Map.of("test", true))));
    main.socket.emit("ack");
    main.next("got it");
    say("ok asked");

    Client foo = new Client(url + "/foo");
    foo.next("connect");
    check(foo.ask("getId").equals(foo.socket.id()) && !foo.socket.id().equals(main.socket.id()), "two ids");
    say("ok namespaces");

    JSONObject refusal = (JSONObject) new Client(url + "/no").next("connect_error")[1];
    check(refusal.getString("message").equals("Auth failed (custom namespace)"), refusal.toString());
    say("ok refused");
  }

  static void rooms(String url) throws Exception {
    Client one = new Client(url, "message");
    Client two = new Client(url, "message");
    for (Client client : List.of(one, two)) {
      client.next("connect");
      check(((JSONObject) client.ask("join", "tea")).getBoolean("ok"), "join");
    }
    one.socket.emit("message", new JSONObject().put("room", "tea").put("text", "hello"));
    for (Client client : List.of(one, two)) {
      JSONObject message = client.text("hello");
      check(message.getString("from").equals(one.socket.id()) && message.getString("room").equals("tea"), message.toString());
    }
    two.ask("leave", "tea");
    say("type sendroom tea from the console");
    one.text("from the console");
    check(two.rooms().isEmpty() && two.heard.stream().noneMatch(all -> all[0].equals("message")), "who has left hears nothing");
    say("ok rooms");

    String id = one.socket.id();
    for (String point : List.of("stop and start", "kill")) {
      say(point.equals("kill") ? "kill" : "type stop");
      Object reason = one.next("disconnect")[1];
      if (!point.equals("kill")) say("type start");
      one.next("connect");
      boolean recovered = one.socket.id().equals(id);
      check(one.rooms().equals(recovered ? List.of("tea") : List.of()), "rooms after " + point);
      say("note " + point + ": " + reason + ", " + (recovered ? "recovered" : "a new session"));
      one.ask("join", "tea");
      one.ask("message", new JSONObject().put("room", "tea").put("text", point));
      one.text(point);
      say("ok " + point);
    }
  }
}
