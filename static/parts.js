// What the page of every transport is made of: the chat, and the panels beside it. No text of anybody's comes in here.

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
  <p id="here" class="soft" hidden></p>
  <section class="list" aria-label="Messages" tabindex="0">
    <div>
      <p id="older" class="note" hidden>Older messages are no longer shown.</p>
      <ol id="messages" role="list" aria-live="polite"></ol>
      <ol id="pending" role="list"></ol>
    </div>
  </section>
  <form id="compose">
    <input id="text" aria-label="Message" placeholder="Message" autocomplete="off" enterkeyhint="send">
    <button id="send" aria-describedby="why-not">Send</button>
  </form>
  <p id="why-not" class="soft" role="status"></p>`;

const WIRE = `
  <p class="tools">
    <label>Show the last <select id="span"><option value="5">5 s</option><option value="20" selected>20 s</option>
      <option value="60">60 s</option></select></label>
    <label><input type="checkbox" id="freeze"> Freeze</label>
    <span class="legend"><b class="k-asked">▲</b> asked <b class="k-held">▭</b> held or kept open by the server
      <b>○</b> answered, no message in it <b>●</b> with a message, up or down <b>╵╷</b> frame or event, up or down</span>
  </p>
  <div class="timeline">
    <div id="axis" aria-hidden="true"></div>
    <ol id="rows" role="list" aria-label="Requests and connections, the newest last"></ol>
    <p id="quiet" class="soft" role="status">Nothing has gone over yet.</p>
    <p id="shows" class="soft"></p>
  </div>
  <section id="details" aria-label="What went over" hidden><h3 id="what"></h3><p id="about" class="soft"></p><ol id="entries" role="list"></ol></section>
  <p class="soft">As the server's tap saw it, below its HTTP library: the bytes themselves, and when they left this page or reached
    it. Choose a row to read them.</p>`;

const TALLY = `
  <dl class="figures">${[
    figure("requests", "Requests", "HTTP requests, sends included, as the server counted them"),
    figure("empty", "Empty", "Polls that were answered with nothing new"),
    figure("up", "Bytes up", "Heads, bodies and frames, as the server counted them"),
    figure("down", "Bytes down", "Heads, bodies and frames, as the server counted them"),
    figure("requests-rate", "Requests a minute", "Over the last minute, or since the knobs last changed"),
    figure("bytes-rate", "Bytes a minute", "Up and down, over the last minute, or since the knobs last changed"),
    figure("received", "Messages"),
    figure("age", "Age of the newest"),
    figure("median", "Median age"),
    figure("stored", "Known stored after", "From send to the server's answer that it has stored the last message of this page"),
    figure("queued", "Waited in this page", "How long the last message waited for one of the browser's connections; not in its age"),
    figure("reconnects", "Reconnects"),
    figure("gaps", "Gaps"),
  ].join("")}</dl>
  <p class="soft">Counted by the server since this panel or the wire was opened; TCP's own bytes are not in it. Age: from when
    it left to its arrival by this page's clock if it sent the message, otherwise since the server has it. Known stored after:
    from sending this page's last message to the answer that the server has it. Waited in this page: for one of the browser's
    connections, which is not in the age. A dash: not known yet.</p>`;

const KNOBS = `
  <form id="knobs" class="knobs" novalidate>
    <label data-for="short-poll">Ask again <input type="number" id="interval"> s after an answer</label>
    <label data-for="long-poll">Hold for <input type="number" id="hold"> s</label>
    <label>Send by itself <select id="rate"><option value="0">nothing</option><option value="1">1 a second</option>
      <option value="5">5 a second</option><option value="20">20 a second</option></select></label>
    <label>of <input type="number" id="payload"> characters</label>
    <label class="far">Simulated distance <input type="range" id="distance">
      <output id="far" for="distance"></output></label>
    <span><button type="button" id="pull">Pull the plug for 5 s</button>
      <button type="button" id="break" data-for="sse">Break the stream</button>
      <button type="button" data-show='"fragments"' data-for="ws">Send me fragments</button>
      <button type="button" data-show='"ping"' data-for="ws">Ping me</button>
      <button type="button" data-show='{"close":4001}' data-for="ws">Close with 4001</button>
      <button type="button" id="behind">Fall behind</button></span>
  </form>
  <p id="clamped" class="soft" role="status"></p>
  <p class="soft">Distance is a round trip that the server adds, for this page only. After a pulled plug the page
    connects again<span data-for="sse">, after a broken stream the browser</span>. To fall behind, a reader goes away while a room of
    this page's own gets 20 messages of 60 kB, more than the 1 MiB that the server remembers.</p>`;

const CODE = `<div class="sources"><figure><figcaption id="client-name"></figcaption><pre id="client" tabindex="0"></pre></figure>
  <figure><figcaption id="server-name"></figcaption><pre id="server" tabindex="0"></pre></figure></div>`;

export const PANELS = [
  panel("try", "Try this", "what to do, and what it shows", ""),
  panel("knobs-panel", "The knobs", "speed, distance, a pulled plug", KNOBS),
  panel("tally", "The tally", "what it has cost so far", TALLY),
  panel("wire", "The wire", "the newest requests and frames, to scale", WIRE),
  panel("code", "The code", "this page's, the server's, and curl", CODE),
].join("");
