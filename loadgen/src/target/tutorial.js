// The tutorial's own server: Socket.IO on Node with its defaults. What is not the tutorial's: a room for whoever names one,
// a POST as every other server here has it, and that it ends with its standard input.
const { Server } = require("socket.io");

const server = require("node:http").createServer((request, response) => {
  let body = "";
  request.on("data", part => { body += part; }).on("end", () => {
    const room = new URL(request.url, "http://localhost").searchParams.get("room");
    io.to(room).emit("chat-message", JSON.parse(body).text);
    response.writeHead(201).end("{}");
  });
});
const io = new Server(server);
io.on("connection", socket => {
  const room = socket.handshake.auth.room ?? "lobby";
  socket.join(room);
  socket.on("chat-message", text => io.to(room).emit("chat-message", text));
});
server.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
process.stdin.on("end", () => process.exit()).resume();
