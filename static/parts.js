// What the page of every technique is made of: the chat, and the panels beside it. No text of anybody's comes in here.

const panel = (id, title, about, content) => `
  <details class="panel" id="${id}"><summary><h2>${title}</h2> <span>${about}</span></summary>${content}</details>`;

const figure = (id, title, about = "") => `<div title="${about}"><dt>${title}</dt><dd id="${id}">0</dd></div>`;

export const CHAT = `
  <form id="join">
    <label>Name <input id="name" required maxlength="64" autocomplete="off"></label>
    <label>Room <input id="room" required maxlength="64" autocomplete="off"></label>
    <button>Join</button>
  </form>
  <p class="state"><span id="state" role="status">connecting</span> <span id="detail"></span></p>
  <section class="list" aria-label="Messages" tabindex="0">
    <div>
      <p id="older" class="note" hidden>Older messages are no longer shown.</p>
      <ol id="messages" role="list" aria-live="polite"></ol>
      <ol id="pending" role="list"></ol>
    </div>
  </section>
  <form id="compose">
    <input id="text" aria-label="Message" placeholder="Message" autocomplete="off" enterkeyhint="send">
    <button>Send</button>
  </form>`;

const WIRE = `
  <p class="tools">
    <label>Show the last <select id="span"><option value="5">5 s</option><option value="20" selected>20 s</option>
      <option value="60">60 s</option></select></label>
    <label><input type="checkbox" id="freeze"> Freeze</label>
    <span class="legend"><b class="k-asked">▲</b> asked <b class="k-held">▬</b> held by the server
      <b>○</b> answered, no message in it <b>●</b> with a message, up or down <b>╵╷</b> frame or event, up or down</span>
  </p>
  <div class="timeline">
    <div id="axis" aria-hidden="true"></div>
    <ol id="rows" role="list" aria-label="Requests and connections, the newest last"></ol>
    <p id="quiet" class="soft">Nothing has gone over yet.</p>
  </div>
  <section id="details" aria-label="What went over" hidden><h3 id="what"></h3><ol id="entries" role="list"></ol></section>
  <p class="soft">As the server's tap saw it, below its HTTP library: the bytes themselves. Choose a row to read them.</p>`;

const TALLY = `
  <dl class="figures">${[
    figure("requests", "Requests", "HTTP requests, sends included, as the server counted them"),
    figure("empty", "Empty", "Polls that were answered with nothing new"),
    figure("up", "Bytes up", "Heads, bodies and frames, as the server counted them"),
    figure("down", "Bytes down", "Heads, bodies and frames, as the server counted them"),
    figure("received", "Messages"),
    figure("age", "Last age"),
    figure("median", "Median age"),
    figure("reconnects", "Reconnects"),
    figure("gaps", "Gaps"),
  ].join("")}</dl>
  <p class="soft">Counted by the server since this panel or the wire was opened; TCP's own bytes are not in it. Age: from send to
    arrival by this page's clock if it sent the message, otherwise since the server has it.</p>`;

const KNOBS = `
  <form id="knobs" class="knobs">
    <label data-for="short-poll">Ask again <input type="number" id="interval" min="0.05" max="60" step="any"> s after an answer</label>
    <label data-for="long-poll">Hold for <input type="number" id="hold" min="0" max="60" step="any"> s</label>
    <label>Send by itself <select id="rate"><option value="0">nothing</option><option value="1">1 a second</option>
      <option value="5">5 a second</option><option value="20">20 a second</option></select></label>
    <label>of <input type="number" id="payload" min="1" max="60000" step="1"> characters</label>
    <label class="far">Simulated distance <input type="range" id="distance" min="0" max="600" step="20">
      <output id="far" for="distance"></output></label>
    <span><button type="button" id="pull">Pull the plug for 5 s</button>
      <button type="button" id="behind">Fall behind</button></span>
  </form>
  <p class="soft">Distance is a round trip that the server adds, for this page only. Falling behind unplugs the page and fills the
    room with 20 messages of 60 kB, more than the 1 MiB that the server remembers of it.</p>`;

const CODE = `<div class="sources"><figure><figcaption id="client-name"></figcaption><pre id="client" tabindex="0"></pre></figure>
  <figure><figcaption id="server-name"></figcaption><pre id="server" tabindex="0"></pre></figure></div>`;

export const PANELS = [
  panel("try", "Try this", "three things to do, and why they go as they go", ""),
  panel("knobs-panel", "The knobs", "speed, distance, a pulled plug", KNOBS),
  panel("tally", "The tally", "what it has cost so far", TALLY),
  panel("wire", "The wire", "every request and frame, to scale", WIRE),
  panel("code", "The code", "this page's, the server's, and curl", CODE),
].join("");
