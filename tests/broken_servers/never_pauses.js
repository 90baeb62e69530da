// Writes without looking whether the socket is full: it keeps all that is not read.
const FAILS = "streams.back-pressure";

const server = require("net").createServer((socket) => {
  socket.on("data", (data) => socket.write(data));
  socket.on("error", () => {}); // the client has gone
});
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 512 });
