// Remembers 16 KiB of every connection for ever.
const FAILS = "processes.memory";

const remembered = [];
const server = require("net").createServer({ allowHalfOpen: true }, (socket) => {
  remembered.push(Buffer.alloc(16384, 1));
  socket.on("error", () => {}); // the client has gone
  socket.pipe(socket);
});
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 512 });
