// A right echo server: pipe() waits for whoever does not read, and ends when the input does.
const server = require("net").createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {}); // the client has gone
  socket.pipe(socket);
});
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 512 });
