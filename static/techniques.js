// Which techniques there are, and what they take of the six connections that a browser opens to a host over HTTP/1.1.

import * as longPoll from "./long-poll.js";
import * as shortPoll from "./short-poll.js";
import * as sse from "./sse.js";
import * as ws from "./ws.js";

export const TECHNIQUES = [
  { id: "short-poll", name: "Short polling", takes: "one of the six, for moments", technique: shortPoll },
  { id: "long-poll", name: "Long polling", takes: "one of the six, nearly always", technique: longPoll },
  { id: "sse", name: "Server-sent events", takes: "one of the six, always", technique: sse },
  { id: "ws", name: "WebSocket", takes: "none of the six: sockets are not counted", technique: ws },
];
