// The events of `conformance bench`, served by the official server: node node.js --port N [--recovery] [--redis HOST:PORT].
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { createClient } from "redis";
import { Server } from "socket.io";

const { values: asked } = parseArgs({
  options: { port: { type: "string" }, recovery: { type: "boolean" }, redis: { type: "string" } },
});
const options = asked.recovery ? { connectionStateRecovery: {} } : {};
if (asked.redis) {
  const client = createClient({ url: `redis://${asked.redis}` });
  await client.connect();
  options.adapter = createAdapter(client);
}
const server = createServer();
const io = new Server(server, options);

io.on("connection", (socket) => {
  socket.join("all");
  socket.on("echo", (value, ack) => (ack ? ack(value) : socket.emit("echo", value)));
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack();
  });
  socket.on("broadcast", (value) => io.to("all").emit("broadcast", value));
  socket.on("room", (room, value) => io.to(room).emit("room", value));
});
server.listen(Number(asked.port), "127.0.0.1");
