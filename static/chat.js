// The chat as one sees it: the form, the list, what is still on its way, and the state of the link.

import { $, element, number } from "./format.js";
import { LIVE, randomKey } from "./link.js";

const KEPT_ROWS = 500; // A page that stays open for days must stay usable.
const SHOWN_TEXT = 1_000; // Characters; the rest of a long text is counted.

/** Shows what a link brings. */
export function show(link) {
  link.watch({
    messages: (messages) => append(...messages.map((message) => row(message, clock(message.at)))),
    gap: ({ reason, missed }) => note(gapText(reason, missed), "gap"),
  });
}

/** Shows what a link brings and how it stands, and sends what is typed. */
export function chat(link) {
  show(link);
  const rows = new Map(); // What is still on its way: the sent -> its row.
  link.watch({
    state,
    pending: (sent) => {
      const line = row(sent.draft, element("span", "sending…", "status"));
      rows.set(sent, line);
      $("pending").append(line);
    },
    acked: (sent) => (rows.get(sent).lastElementChild.textContent = "stored"),
    settled: (sent) => {
      rows.get(sent)?.remove();
      rows.delete(sent);
    },
    refused: (sent, reason) => {
      if (!sent) return note(`The server refused a message: ${reason}`);
      const [resend, discard] = [element("button", "Send again"), element("button", "Discard")];
      discard.onclick = () => link.settle(sent.draft.key);
      resend.onclick = () => {
        link.settle(sent.draft.key);
        link.send(sent.draft);
      };
      const status = rows.get(sent).lastElementChild;
      status.className = "refusal";
      status.replaceChildren(`not sent: ${reason} `, resend, " ", discard);
    },
  });
  $("compose").onsubmit = (event) => {
    event.preventDefault();
    const text = $("text").value;
    if (blank(text) || !named()) return;
    $("text").value = "";
    link.send({ from: $("name").value, text, key: randomKey() });
    $("text").focus(); // It was perhaps on the button, which has nothing to send now.
    sendable();
  };
  $("text").oninput = sendable;
  $("name").oninput = named;
  sendable();
  setInterval(() => LIVE.includes($("state").dataset.state) && detail(link.activity()), 250);
  addEventListener("beforeunload", (event) => {
    if (link.unanswered().length) event.preventDefault();
  });
}

/** Nothing that one sees: neither in a text nor in a name is it said. */
const blank = (text) => !/[^\p{Z}\p{Cc}\p{Cf}]/u.test(text);

function sendable() {
  const nothing = blank($("text").value);
  $("send").disabled = nothing;
  $("why-not").textContent = nothing && $("text").value ? "There is nothing to send: only spaces." : "";
  $("send").title = nothing ? "Type a message first" : "";
}

/** Whether there is a name to send under; if not, says so. */
export function named() {
  $("name").setCustomValidity(blank($("name").value) ? "Messages need a name." : "");
  return $("name").reportValidity();
}

/** A line between the messages that no one has said. */
export function note(text, kind = "") {
  append(element("li", text, `note ${kind}`));
}

function row({ from, text }, last) {
  const shown = text.length > SHOWN_TEXT ? `${text.slice(0, SHOWN_TEXT).trimEnd()}… (${number(text.length)} characters)` : text;
  const line = element("li");
  line.append(element("bdi", from), Object.assign(element("span", shown, "text"), { dir: "auto" }), last);
  return line;
}

function append(...lines) {
  $("messages").append(...lines.slice(-KEPT_ROWS));
  while ($("messages").childElementCount > KEPT_ROWS) {
    $("messages").firstElementChild.remove();
    $("older").hidden = false;
  }
  // More than that in one piece, into an empty list.
  if (lines.length > KEPT_ROWS) $("older").hidden = false;
}

const clock = (at) => element("time", new Date(at).toLocaleTimeString());

function gapText(reason, missed) {
  return {
    window: `Messages missed: ${missed}. The room no longer has them.`,
    epoch: "The room has started anew, with a new server or after a long rest. What had not arrived before is lost.",
    ahead: "This page had read further than the room reaches. It reads again what the room has.",
  }[reason];
}

const detail = (text) => ($("detail").textContent = text);

function state(name, about = "") {
  // Screen readers announce what changes in here: not every second of the countdown, which stands beside it.
  if ($("state").textContent !== name) $("state").textContent = name;
  $("state").dataset.state = name;
  if (!LIVE.includes(name)) detail(about);
  $("compose").hidden = name === "refused";
}
