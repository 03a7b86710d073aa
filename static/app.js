// Improves pages that already work without it.
"use strict";

// A file over its limit is told before it is sent; of several for a folder the server takes those that fit, and names the
// others.
const tooLarge = (form) => {
  for (const input of form.querySelectorAll("input[type=file][data-most]")) {
    const id = `${input.id}-most`, files = [...input.files], fits = (one) => one.size <= Number(input.dataset.most);
    const all = input.dataset.all, file = all ? files.find((one) => !fits(one)) : files.some(fits) ? null : files[0];
    document.getElementById(id)?.remove();
    if (!file) continue;
    const told = document.createElement("p");
    const words = { name: file.name, most: input.dataset.mostSaid };
    const text = input.dataset.tooLarge.replace(/{(\w+)}/g, (place, name) => words[name] ?? place);
    Object.assign(told, { id, className: "error", textContent: text });
    told.setAttribute("role", "alert");
    input.before(told);
    input.focus();
    return true;
  }
  return false;
};

// A form is sent once: the second click of a double click does nothing.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || "again" in form.dataset) return;
  if (form.dataset.sent || tooLarge(form)) return event.preventDefault();
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
});

// Coming back with the browser's Back button shows the page as it was: make its forms usable again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
  }
  document.querySelectorAll("form[data-mark]").forEach(showAsked);
});

// Files go up one by one, each with its own progress, and go on from where they stopped (tus 1.0.0, plugins/tus.py), also when
// they are chosen again on another day. They are chosen, dropped anywhere on the listing with their folders, or pasted.
const filled = (text, words) => text.replace(/{(\w+)}/g, (place, name) => words[name] ?? place);
const upload = document.querySelector("form[data-drop]"), uploads = document.getElementById("uploads");
if (upload && uploads) {
  const input = upload.querySelector("input[type=file]"), words = uploads.dataset, items = [];
  const list = uploads.querySelector("ul"), told = uploads.querySelector("[role=status]"), asks = uploads.querySelector("[role=group]");
  const folder = () => new URL(upload.action).pathname.replace(/\/?$/, "/"), home = words.tus.replace(/tus$/, "");
  const encoder = new TextEncoder();
  const encode = (text) => btoa(Array.from(encoder.encode(text), (byte) => String.fromCharCode(byte)).join(""));
  const say = (text) => { if (told.textContent !== text) told.textContent = text; };
  const ask = (method, address, headers = {}) => fetch(address, {
    method, cache: "no-store", headers: { Accept: "application/json", "Tus-Resumable": "1.0.0", ...headers },
  }).catch(() => null);

  // What was begun before, by whoever is signed in, is found by name, size and time.
  let known = null;
  const begunBefore = async ({ file, path }) => {
    known ??= ask("GET", words.tus).then((answer) => (answer?.ok ? answer.json() : { items: [] })).catch(() => ({ items: [] }));
    const place = decodeURIComponent(folder().slice(home.length));
    const same = (one) => `${one.resource}/${one.name}` === place + path && one.size_bytes === file.size;
    const found = (await known).items.find((one) => same(one) && Math.abs(one.modified_at * 1000 - file.lastModified) < 1);
    return found ? home + found.address : "";
  };

  const begin = (item) => {
    const facts = { filename: item.path, lastmodified: String(item.file.lastModified), ...(item.mode && { [item.mode]: "1" }) };
    const metadata = Object.entries(facts).map(([name, text]) => `${name} ${encode(text)}`).join();
    return ask("POST", folder(), { "Upload-Length": String(item.file.size), "Upload-Metadata": metadata });
  };
  const send = (item, at) => new Promise((resolve) => {
    const request = item.request = new XMLHttpRequest();
    request.open("PATCH", item.address);
    const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(at), "Tus-Resumable": "1.0.0" };
    if (item.mode) headers["Upload-Metadata"] = `${item.mode} ${encode("1")}`;
    for (const [name, text] of Object.entries({ Accept: "application/json", ...headers })) request.setRequestHeader(name, text);
    request.upload.addEventListener("progress", (event) => { item.bar.value = at + event.loaded; });
    request.addEventListener("loadend", () => resolve(request.status ? {
      ok: request.status === 204, status: request.status, headers: { get: (name) => request.getResponseHeader(name) },
      json: async () => JSON.parse(request.responseText),
    } : null));
    request.send(item.file.slice(at));
  });

  const forget = (item) => {
    if (item.address) ask("DELETE", item.address);
    item.address = "";
  };
  const anew = (item) => {
    forget(item);
    known = Promise.resolve({ items: [] });
    return "again";
  };

  // One try to go on: "done", "again" at once, or later because the connection is "lost" or one is signed "out"; "taken" is the
  // name; else why it was refused.
  const verdict = async (answer, isNew) => {
    if (!answer) return "lost";
    if (answer.status === 401) return "out";
    if (answer.status === 409) return isNew || (await answer.json().catch(() => null))?.upload ? "taken" : "again";
    if ([408, 423, 429, 500, 502, 503, 504].includes(answer.status)) return "lost";
    const why = { 413: words.tooLarge, 415: words.kind, 507: words.full }[answer.status];
    return why || (await answer.json().catch(() => null))?.detail || words.failed;
  };
  const attempt = async (item) => {
    if (!item.address) item.address = await begunBefore(item);
    const isNew = !item.address;
    let answer = isNew ? await begin(item) : await ask("HEAD", item.address);
    if (!isNew && [404, 410].includes(answer?.status)) return anew(item);
    if (!answer?.ok) return verdict(answer, isNew);
    if (isNew) item.address = answer.headers.get("Location");
    let at = Number(answer.headers.get("Upload-Offset"));
    item.bar.value = at;
    if (at < item.file.size && item.status === "going") {
      answer = await send(item, at);
      if (!answer?.ok) {
        const found = await verdict(answer, false);
        return found === "taken" && item.mode ? anew(item) : found;  // what was sent cannot be stored so
      }
      at = Number(answer.headers.get("Upload-Offset"));
    }
    return at < item.file.size ? "again" : "done";
  };
  const pause = (item) => new Promise((resolve) => {
    item.wake = resolve;
    setTimeout(resolve, Math.min(10000, 250 * 2 ** item.tries));
    item.tries += 1;
  });
  const wake = () => { for (const item of items) item.wake?.(); };
  for (const kind of ["online", "focus"]) window.addEventListener(kind, wake);

  const show = (item, status, text = words[status] ?? "") => {
    item.status = status;
    item.row.className = status;
    item.row.querySelector(".state").textContent = text;
    item.bar.hidden = !["going", "waiting"].includes(status);
    item.row.querySelector(".cancel").hidden = item.bar.hidden;
    item.row.querySelector(".retry").hidden = status !== "failed";
    item.row.querySelector("a").hidden = true;
  };
  const work = async (item) => {
    show(item, "going");
    if (item.file.size > Number(input.dataset.most)) return show(item, "failed", words.tooLarge);
    while (item.status === "going") {
      const found = await attempt(item);
      if (item.status !== "going") return;
      if (found === "done") return show(item, "done");
      if (found === "taken") return show(item, "taken");
      if (!["again", "lost", "out"].includes(found)) return show(item, "failed", found);
      if (found === "again" && item.tries < 3) { item.tries += 1; continue; }
      item.row.querySelector(".state").textContent = found === "out" ? words.out : words.lost;
      item.row.querySelector("a").hidden = found !== "out";
      say(found === "out" ? words.out : words.lost);
      await pause(item);
      if (item.status === "going") show(item, "going");
    }
  };

  // Two go up at a time. Of those whose names are taken it is asked once, when all others are there.
  let active = 0;
  const next = () => {
    for (const item of items.filter((one) => one.status === "waiting").slice(0, 2 - active)) {
      active += 1;
      work(item).catch(() => show(item, "failed", words.failed)).finally(() => { active -= 1; next(); });
    }
    if (!active && items.length) rest();
  };
  const rest = () => {
    const taken = items.filter((one) => one.status === "taken"), done = items.filter((one) => one.status === "done");
    asks.hidden = !taken.length;
    upload.classList.remove("busy");
    if (taken.length) {
      asks.firstElementChild.textContent = filled(words.asks, { n: taken.length, name: taken[0].path });
      return asks.firstElementChild.focus();
    }
    say(filled(items.length === 1 && done.length ? words.one : words.finished, { done: done.length, n: items.length, name: items[0].path }));
    if (done.length !== items.length) return;
    if (!navigator.onLine) return window.addEventListener("online", rest, { once: true });  // else the page would be lost
    history.replaceState({ told: told.textContent }, "");
    location.reload();
  };
  asks.addEventListener("click", (event) => {
    const mode = event.target.closest("button")?.value;
    if (!mode) return;
    asks.hidden = true;
    for (const item of items.filter((one) => one.status === "taken")) {
      item.mode = mode;
      if (mode === "skip") forget(item);
      show(item, mode === "skip" ? "skipped" : "waiting");
    }
    next();
  });
  const add = (files) => {
    if (!files.length) return;
    const blank = uploads.querySelector("template"), replace = upload.querySelector("[name=_replace]")?.checked;
    for (const [file, path] of files) {
      const row = blank.content.firstElementChild.cloneNode(true), bar = row.querySelector("progress");
      const item = { file, path: path.normalize(), row, bar, mode: replace ? "replace" : "", address: "", tries: 0 };
      row.querySelector("bdi").textContent = item.path;
      bar.max = Math.max(file.size, 1);
      for (const one of row.querySelectorAll("[aria-label]")) one.setAttribute("aria-label", filled(one.ariaLabel, { name: item.path }));
      row.querySelector(".cancel").addEventListener("click", () => {
        show(item, "cancelled");
        item.request?.abort();
        item.wake?.();
        forget(item);
      });
      row.querySelector(".retry").addEventListener("click", () => { item.tries = 0; show(item, "waiting"); next(); });
      show(item, "waiting");
      items.push(item);
      list.append(row);
    }
    uploads.hidden = false;
    say(filled(words.begins, { n: items.filter((one) => one.status === "waiting").length }));
    next();
  };

  upload.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation();
    add([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
    input.value = "";
  });
  const filesOf = async (entry) => {
    if (entry.isFile) return [[await new Promise((give, fail) => entry.file(give, fail)), entry.fullPath.slice(1)]];
    const reader = entry.createReader(), found = [];
    for (let some = [null]; some.length;) {
      some = await new Promise((give, fail) => reader.readEntries(give, fail));
      for (const one of some) found.push(...await filesOf(one));
    }
    return found;
  };
  const carriesFiles = (event) => event.dataTransfer && event.dataTransfer.types.includes("Files");
  let depth = 0;
  const mark = (on) => upload.classList.toggle("over", on);
  document.addEventListener("dragenter", (event) => { if (carriesFiles(event)) { depth += 1; mark(true); } });
  document.addEventListener("dragleave", (event) => { if (carriesFiles(event)) { depth -= 1; mark(depth > 0); } });
  document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    mark(false);
    const entries = [...event.dataTransfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...event.dataTransfer.files].map((file) => [file, file.name]);
    const found = entries.length ? (await Promise.all(entries.map(filesOf)).catch(() => [plain])).flat() : plain;
    add(found);
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData?.files ?? []], now = new Date();
    if (!files.length || event.target.closest("textarea, input:not([type=file])")) return;
    event.preventDefault();
    const two = (number) => String(number).padStart(2, "0");
    const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
    const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(".");
    const named = (name) => (/^image\.\w+$/.test(name) ? `${words.pasted} ${day} ${time}.${name.split(".")[1]}` : name);
    add(files.map((file) => [file, named(file.name)]));
  });
  if (history.state?.told) {
    uploads.hidden = false;
    say(history.state.told);
    history.replaceState(null, "");
  }
}

// On other pages that take a file, such as an import, what is dropped goes through their form.
if (upload && !uploads) {
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    if (!event.dataTransfer.files.length || upload.dataset.sent) return;
    upload.querySelector("input[type=file]").files = event.dataTransfer.files;
    upload.requestSubmit();
  });
}

// A filter sends what is filled in, so that the address says no more than that.
for (const form of document.querySelectorAll("form[data-tidy]")) {
  const empty = () => [...form.querySelectorAll("input, select")].filter((one) => one.name && one.value === "");
  form.addEventListener("submit", () => {
    const left = empty().filter((one) => !one.dataset.usual);
    for (const one of left) one.disabled = true;
    setTimeout(() => { for (const one of left) one.disabled = false; });
  });
}

// An open question, or menu of the top bar, closes with Escape or a click elsewhere.
const closeQuestions = (except) => {
  for (const open of document.querySelectorAll("details:is(.confirm, .more, .pick, .columns)[open]")) if (open !== except) open.open = false;
};
document.addEventListener("click", (event) => closeQuestions(event.target.closest("details:is(.confirm, .more, .pick, .columns)")));
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector("details:is(.confirm, .more, .pick, .columns, .opener)[open]");
  if (open) { open.open = false; open.querySelector("summary").focus(); }
});

// The key / leads to the search, unless one is typing.
const search = document.querySelector("[data-search]");
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  if (!search || event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing) return;
  event.preventDefault();
  if (!search.offsetParent) document.querySelector("details.opener").open = true;
  search.focus();
  search.select();
});

// A page that answers with faults puts the reader at their summary.
const faults = document.querySelector("[role=alert][tabindex]");
if (faults) faults.focus();

// What is shown once, or where something is, can be copied by a button; over plain http by the old way, which needs a selection.
const copied = async (text) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const box = Object.assign(document.createElement("textarea"), { value: text, readOnly: true, className: "visually-hidden" });
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
};
for (const button of document.querySelectorAll("button[data-copy], button[data-copy-link]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await copied(button.dataset.copy ?? new URL(button.dataset.copyLink, location).href);
    button.textContent = button.dataset.done;
    button.focus();
  });
}

// A search for choices offers them as one types; without it, its button does.
for (const box of document.querySelectorAll("[data-choices]")) {
  const [find, found] = box.querySelectorAll("input"), said = box.querySelector("[role=status]");
  const field = box.parentElement, button = box.querySelector("button");
  let timer = 0, asked = 0;
  const offer = (items) => {
    const select = document.getElementById(box.dataset.choices);
    for (const option of [...select.options]) if (option.value && !option.selected) option.remove();
    const there = new Set([...select.options].map((option) => option.value));
    for (const { value, label } of items) if (!there.has(String(value))) select.add(new Option(label, value));
  };
  const look = async () => {
    const text = find.value.trim(), mine = ++asked;
    if (!text || text === found.value) return;
    const answer = await fetch(`${box.dataset.href}?${new URLSearchParams({ _q: text })}`, {
      headers: { Accept: "application/json" },
    }).catch(() => null);
    if (mine !== asked || !answer?.ok) return;
    const { items, more } = await answer.json();
    offer(items);
    found.value = text;
    said.textContent = more ? box.dataset.more : items.length ? box.dataset.matches : box.dataset.none;
  };
  if (field.querySelector("select")) {
    find.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 250); });
    find.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      clearTimeout(timer);
      look();
    });
    button.addEventListener("click", (event) => { event.preventDefault(); clearTimeout(timer); look(); });
  }
}

// Lines of a form: one more and one less without asking the server, and what they add up to.
const exactly = (text, mark) => {
  const plain = text.replace(/[\s'’]/g, ""), other = mark === "," ? "." : ",";
  const grouped = new RegExp(`^[+-]?\\d{1,3}(\\${other}\\d{3})+(\\${mark}\\d+)?$`).test(plain);
  const doubtful = new RegExp(`^[+-]?[1-9]\\d{0,2}\\${other}\\d{3}$`).test(plain) && mark === ",";
  const number = (grouped ? plain.replaceAll(other, "") : plain).replace(",", ".");
  const found = /^([+-]?)(\d*)\.?(\d*)$/.exec(number);
  if (!plain) return [0n, 0];
  return found && found[2] + found[3] && !doubtful ? [BigInt(found[1] + (found[2] + found[3])), found[3].length] : null;
};
const added = (texts, mark) => {
  const numbers = texts.map((text) => exactly(text, mark));
  if (numbers.includes(null)) return "—";
  const places = Math.max(0, ...numbers.map((one) => one[1]));
  const sum = numbers.reduce((sum, [digits, own]) => sum + digits * 10n ** BigInt(places - own), 0n);
  const digits = String(sum < 0n ? -sum : sum).padStart(places + 1, "0"), at = digits.length - places;
  const fraction = digits.slice(at).replace(/0+$/, "");
  return (sum < 0n ? "-" : "") + digits.slice(0, at) + (fraction && mark + fraction);
};
for (const box of document.querySelectorAll("[data-lines]")) {
  const rows = box.querySelector(".each"), blank = box.querySelector("template"), most = Number(box.dataset.most);
  const add = box.querySelector(`button[value="add:${box.dataset.lines}"]`), status = box.querySelector("[role=status]");
  const keyOf = (line) => Number(line.querySelector("input[name=_lines]").value.split(".")[1]);
  const renew = () => {
    [...rows.children].forEach((line, index) => {
      line.setAttribute("aria-label", line.dataset.line.replace("{n}", index + 1));
      const remove = line.querySelector("button[data-remove]");
      remove.setAttribute("aria-label", remove.dataset.remove.replace("{n}", index + 1));
    });
    add.hidden = rows.children.length >= most;
    for (const output of box.querySelectorAll("output[data-sum]")) {
      const inputs = [...rows.querySelectorAll(`[name$=".${output.dataset.sum}"]`)];
      output.value = added(inputs.map((input) => input.value), output.dataset.mark);
    }
  };
  const more = () => {
    const key = Math.max(999, ...[...rows.children].map(keyOf)) + 1;
    const line = blank.content.cloneNode(true);
    for (const one of line.querySelectorAll("*")) {
      for (const attribute of one.attributes) attribute.value = attribute.value.replaceAll("__KEY__", key);
    }
    rows.append(line);
    renew();
    rows.lastElementChild.querySelector("input:not([type=hidden]), select, textarea").focus();
  };
  const less = (line) => {
    const next = line.nextElementSibling || line.previousElementSibling;
    line.remove();
    renew();
    status.textContent = status.dataset.removed;
    (next?.querySelector("button[data-remove]") ?? add).focus();
  };
  box.addEventListener("click", (event) => {
    const button = event.target.closest("button[name=_again]");
    if (!button) return;
    event.preventDefault();
    if (button === add) more();
    else less(button.closest(".line"));
  });
  box.addEventListener("input", renew);
}

// Fields that are asked for only while others have some values (plugins/form_layout.py) come and go as one answers. The
// server has the last word.
const readers = {
  number: (text, mark) => {
    const found = exactly(text, mark);
    return found ? Number(found[0]) / 10 ** found[1] : NaN;
  },
  day: (text) => text.slice(0, 10),
  time: (text) => (/(^|T)\d\d:\d\d$/.test(text) ? `${text}:00` : text),
};
const compares = {
  eq: (one, other) => one === other, ne: (one, other) => one !== other, lt: (one, other) => one < other,
  lte: (one, other) => one <= other, gt: (one, other) => one > other, gte: (one, other) => one >= other,
  contains: (text, part) => text.includes(part), prefix: (text, part) => text.startsWith(part),
};
const given = (form, name) => {
  const found = [], named = form.querySelectorAll(`[name="${CSS.escape(name)}"], [name="_held_${CSS.escape(name)}"]`);
  for (const one of named) {
    if (one.matches(":disabled")) continue;
    if (one.type === "checkbox" && one.closest(".field-checkbox")) found.push(one.checked ? "true" : "false");
    else if (!/^(checkbox|radio)$/.test(one.type) || one.checked) found.push(one.value);
  }
  const sum = form.querySelector(`output#f-${CSS.escape(name)}`);
  if (sum && !sum.closest("fieldset:disabled") && /\d/.test(sum.value)) found.push(sum.value);
  const inLines = form.querySelectorAll(`[data-lines="${CSS.escape(name)}"]:not(:disabled) .line :is(input, select, textarea)`);
  for (const one of inLines) if (/^(checkbox|radio)$/.test(one.type) ? one.checked : one.type !== "hidden") found.push(one.value);
  return found.filter((text) => text.trim() !== "");
};
const holds = (form, [name, kind, op, wanted]) => {
  const values = given(form, name), read = (text) => (readers[kind] ?? String)(text, form.dataset.mark);
  const own = (text) => (kind === "number" ? Number(text) : read(text));
  if (op === "null") return (values.length === 0) === (wanted[0] === "true");
  if (kind === "array") return values.some((text) => wanted.includes(text)) === (op !== "ne");
  if (!values.length) return op === "ne";
  const value = read(values[values.length - 1].trim());
  return op === "in" ? wanted.some((text) => own(text) === value) : compares[op](value, own(wanted[0]));
};
const showAsked = (form) => {
  const boxes = [...form.querySelectorAll("fieldset[data-when]")];
  for (let turned = true, turns = 0; turned && turns <= boxes.length; turns += 1) {
    turned = false;
    for (const box of boxes) {
      const off = !JSON.parse(box.dataset.when).every((one) => holds(form, one));
      if (off === box.disabled) continue;
      box.disabled = box.hidden = off;
      turned = true;
    }
  }
  for (const field of form.querySelectorAll(".field[data-must]")) {
    const on = JSON.parse(field.dataset.must).every((one) => holds(form, one));
    for (const star of field.querySelectorAll(".must")) star.hidden = !on;
    for (const one of field.querySelectorAll("textarea, select, input:not([type=checkbox], [type=hidden])")) one.required = on;
  }
  for (const section of form.querySelectorAll("fieldset.section")) {
    section.hidden = [...section.querySelectorAll(".field")].every((one) => one.closest(".when")?.hidden);
  }
};
for (const form of document.querySelectorAll("form[data-mark]")) {
  for (const kind of ["input", "change", "click"]) form.addEventListener(kind, () => setTimeout(() => showAsked(form)));
  showAsked(form);
}

// What is typed into a form is kept as a draft, a moment after the last change; nothing is sent while nothing has changed.
const later = document.querySelector("form[data-later]");
if (later) {
  const said = later.querySelector(".saved"), files = [...later.querySelectorAll("input[type=file]")];
  const chosen = (input) => [...input.files].map((one) => `${one.name} ${one.size} ${one.lastModified}`).join();
  const texts = () => JSON.stringify([...new FormData(later)].filter(([, value]) => typeof value === "string"));
  const kept = new Map(files.map((input) => [input, ""]));
  let before = texts(), timer = 0, busy = false, stop = null;
  const say = (words) => {
    const now = new Date().toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
    said.textContent = words.replace("{time}", now);
  };
  const save = async () => {
    if (later.dataset.sent) return;
    if (busy) return wait();
    const now = texts(), news = files.filter((input) => chosen(input) !== kept.get(input)), sizes = new Map(kept);
    if (now === before && !news.length) return;
    const body = new FormData(later);
    for (const input of files) if (!news.includes(input)) body.delete(input.name);
    for (const input of news) sizes.set(input, chosen(input));
    const stays = files.filter((input) => !news.includes(input) && input.files.length).map((input) => input.name);
    const fits = news.every((input) => [...input.files].every((one) => !input.dataset.most || one.size <= input.dataset.most));
    busy = true;
    stop = new AbortController();
    const answer = fits && await fetch(`${later.dataset.later}?${new URLSearchParams({ _auto: stays.join() })}`, {
      method: "POST", body, redirect: "manual", signal: stop.signal, headers: { Accept: "text/html" },
    }).catch(() => null);
    busy = false;
    if (later.dataset.sent) return;
    const done = answer && (answer.ok || answer.type === "opaqueredirect");
    if (done) {
      before = now;
      for (const [input, files] of sizes) kept.set(input, files);
    }
    say(done ? later.dataset.saved : later.dataset.unsaved);
  };
  const wait = () => { clearTimeout(timer); timer = setTimeout(save, 2000); };
  for (const kind of ["input", "change", "click"]) later.addEventListener(kind, wait);
  later.addEventListener("submit", () => { clearTimeout(timer); stop?.abort(); });
}

// The box of all rows ticks each of them, and how many are ticked stands beside what can be done with them.
const several = document.querySelector("form[data-again]");
if (several) {
  const all = several.querySelector("[data-all]"), told = several.querySelector("[data-told]");
  const boxes = [...document.querySelectorAll("td.tick input")];
  const count = () => {
    const n = boxes.filter((one) => one.checked).length;
    if (all) all.checked = n === boxes.length;
    told.textContent = n ? told.dataset.told.replace("{n}", n) : told.dataset.none;
  };
  document.addEventListener("change", (event) => {
    if (event.target === all) for (const one of boxes) one.checked = all.checked;
    if (event.target === all || boxes.includes(event.target)) count();
  });
  window.addEventListener("pageshow", count);
}

// A list that refreshes itself takes its rows over from the same page, fetched again: not while it is hidden, or while
// somebody types a filter, marks text or chooses rows in it.
const fresh = document.querySelector("[data-refresh]");
if (fresh) {
  const every = Number(fresh.dataset.refresh) * 1000, seen = document.getElementById("refreshed");
  const told = seen.parentElement.querySelector("[role=status]");
  let at = new Date(), tag = "", misses = 0, timer = 0, due = Date.now() + every, html = fresh.innerHTML;
  const say = (words) => {
    const time = at.toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
    seen.textContent = words.replace("{time}", time);
  };
  const inUse = () => {
    const marked = getSelection(), active = document.activeElement;
    if (active.matches("input:not([type=checkbox]), select, textarea")) return true;
    if (fresh.querySelector("details[open], td input:checked")) return true;
    return !marked.isCollapsed && marked.containsNode(fresh, true);
  };
  const takeOver = (box) => {
    const ways = () => [...fresh.querySelectorAll("a, button, input, summary, [tabindex]")], active = document.activeElement;
    const index = ways().indexOf(active), href = active.getAttribute("href");
    const left = fresh.querySelector(".scroll")?.scrollLeft;
    const all = fresh.querySelector("#all-fields")?.checked;
    fresh.replaceChildren(...box.childNodes);
    if (all) fresh.querySelector("#all-fields")?.setAttribute("checked", "");
    const next = index < 0 ? null : ways().find((one) => href && one.getAttribute("href") === href) ?? ways()[index];
    if (left) fresh.querySelector(".scroll")?.scrollTo({ left });
    next?.focus({ preventScroll: true });
    told.textContent = `${fresh.dataset.changed} ${seen.textContent}`;
  };
  // A page that is open shows a picture that it has again as it was, whatever is at its address by now.
  const draw = async (picture) => {
    const answer = await fetch(picture.src, { cache: "no-cache" }).catch(() => null);
    if (answer?.ok) picture.src = `data:image/svg+xml,${encodeURIComponent(await answer.text())}`;
  };
  const look = async () => {
    due = Date.now() + every;
    if (inUse()) return later();
    const answer = await fetch(location.href, {
      headers: { Accept: "text/html", ...(tag && { "if-none-match": tag }) }, cache: "no-store",
    }).catch(() => null);
    const is = answer?.status;
    if (answer?.redirected || (is >= 400 && is < 500 && is !== 429 && is !== 408)) return say(fresh.dataset.stopped);
    misses = is === 200 || is === 304 ? 0 : misses + 1;
    if (misses) say(fresh.dataset.waits);
    if (is === 200) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const box = page.querySelector("[data-refresh]");
      if (!box) return say(fresh.dataset.stopped);
      const now = box.innerHTML;
      if (now !== html) await Promise.all([...box.querySelectorAll(".chart img")].map(draw));
      if (inUse()) return later();
      tag = answer.headers.get("ETag") ?? "";
      at = new Date();
      say(fresh.dataset.updated);
      if (now !== html) takeOver(document.adoptNode(box));
      html = now;
    }
    if (is === 304) {
      at = new Date();
      say(fresh.dataset.updated);
    }
    later();
  };
  const later = () => {
    due = Date.now() + every * Math.min(2 ** misses, Math.max(1, 600000 / every));
    wait();
  };
  const wait = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, Math.max(0, due - Date.now()));
  };
  document.addEventListener("visibilitychange", wait);
  say(fresh.dataset.updated);
  wait();
}
