// Every transport there is, with all that the pages need to know of it: the navigation, the start page's cards and figures,
// the race's lanes and the colours come from here. `/ID.html` is its page, `/ID.js` how its messages travel.
//
// `name` is for the navigation, `title` for headings. `light` and `dark` are its colours, those of the reports. `takes` is
// what it takes of the six connections that a browser opens to a host over HTTP/1.1, `holds` whether it keeps one.
// `stream` is the content type of an answer that never ends, if it has one. `tone` is its click in the race, in Hz. `live`
// is its figure on the start page, and what of `/stats` adds up to it.

export const TRANSPORTS = [
  {
    id: "short-poll", name: "Short poll", title: "Short polling", light: "#b4540a", dark: "#f09a4a", tone: 520,
    takes: "one of the six, for moments", live: { title: "Short polls answered", sum: ["empties", "batches"] },
  },
  {
    id: "long-poll", name: "Long poll", title: "Long polling", light: "#7d3cad", dark: "#c796f2", tone: 660,
    takes: "one of the six, nearly always", holds: true, live: { title: "Long polls held", sum: ["open"] },
  },
  {
    id: "sse", name: "SSE", title: "Server-sent events", light: "#00785f", dark: "#4cc9a8", tone: 780,
    stream: "text/event-stream", takes: "one of the six, always", holds: true, live: { title: "Event streams open", sum: ["open"] },
  },
  {
    id: "ws", name: "WebSocket", title: "WebSocket", light: "#1d5fc4", dark: "#7fb2ff", tone: 980,
    takes: "none of the six: sockets are not counted", live: { title: "WebSockets open", sum: ["open"] },
  },
  {
    id: "socketio", name: "Socket.IO", title: "Socket.IO", light: "#0b7285", dark: "#5fd0e6", tone: 1170,
    takes: "one or two of the six until its WebSocket stands, then none", live: { title: "Socket.IO sessions", sum: ["open"] },
  },
];
