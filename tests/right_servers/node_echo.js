// An echo server on Node's event loop:  node node_echo.js PORT
const net = require("node:net");

const server = net.createServer({ allowHalfOpen: true }, (client) => {
  client.on("error", () => {});
  client.pipe(client);
});
server.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 1024 });
