// What a page of an evil workspace tries in its visitor's browser. Each attack returns what it got; none may get any.
async ({ home, sibling, token, wait }) => {
  const got = {};
  const patience = (promise, otherwise) =>
    Promise.race([promise, new Promise((done) => setTimeout(done, wait, otherwise))]);
  const outcome = async (run) => {
    try {
      return String(await patience(run(), "nothing"));
    } catch (error) {
      return error.name;
    }
  };
  const text = async (answer) => `${(await answer).type} ${(await (await answer).text()).slice(0, 99)}`;
  const away = { credentials: "include", redirect: "follow" };
  const blind = { ...away, mode: "no-cors" };

  // Read.
  for (const [name, url] of [["api", `${home}/api/user/me`], ["home", `${home}/`], ["sibling", `${sibling}/`]]) {
    got[`${name} by fetch`] = await outcome(() => text(fetch(url, away)));
    got[`${name} by blind fetch`] = await outcome(() => text(fetch(url, blind)));
    got[`${name} as a script`] = await outcome(
      () =>
        new Promise((done) => {
          const script = document.createElement("script");
          script.onload = () => done("loaded");
          script.onerror = () => done("nothing");
          script.src = url;
          document.head.append(script);
        }),
    );
    got[`${name} in a frame`] = await outcome(
      () =>
        new Promise((done) => {
          const frame = document.createElement("iframe");
          frame.onload = () => {
            try {
              done(frame.contentWindow.document.body.innerText || "nothing");
            } catch (error) {
              done(error.name);
            }
          };
          frame.src = url;
          document.body.append(frame);
        }),
    );
  }
  got["header"] = await outcome(() => text(fetch(`${home}/api/user/me`, { ...away, headers: { Authorization: "x" } })));

  // Act in the visitor's name.
  const acts = ["/api/auth/logout", "/sign-out", "/api/container/launch/jupyter", "/api/container/jupyter/stop"];
  acts.push("/home/workspaces/jupyter/stop", "/open/alice-jupyter");
  const types = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"];
  const verify = JSON.stringify({ token });
  const sent = [];
  for (const [at, path] of acts.entries()) {
    sent.push(outcome(() => text(fetch(home + path, { ...blind, method: "POST", headers: { "Content-Type": types[at % 3] } }))));
    navigator.sendBeacon(home + path, "a=b");
  }
  for (const type of [...types, "application/json"]) {
    const headers = { "Content-Type": type };
    sent.push(outcome(() => text(fetch(`${home}/api/auth/verify`, { ...blind, method: "POST", headers, body: verify }))));
  }
  for (const method of ["DELETE", "PUT", "POST"]) {
    sent.push(outcome(() => text(fetch(`${home}/api/container/jupyter`, { ...away, method }))));
    sent.push(outcome(() => text(fetch(`${sibling}/files`, { ...away, method, body: "x" }))));
  }
  sent.push(outcome(() => text(fetch(`${sibling}/files`, { ...blind, method: "POST", body: "x" }))));
  await Promise.all(sent);
  for (const path of acts) {
    const form = document.createElement("form");
    const frame = document.createElement("iframe");
    frame.name = `frame-${path}`;
    Object.assign(form, { action: home + path, method: "POST", target: frame.name });
    document.body.append(frame, form);
    form.submit();
    // A request that was sent by the frame is heard of at its load.
    await patience(new Promise((done) => (frame.onload = done)), "");
  }

  // Toss cookies to the neighbours.
  const parts = location.hostname.split(".");
  for (let from = 1; from < parts.length; from += 1) {
    const domain = parts.slice(from).join(".");
    for (const prefix of ["__Host-", "__Secure-", "__host-", "=__Host-", " __Host-", "\u2000__Host-", "\u00a0__Host-", "", "="]) {
      for (const name of ["spawner_session", "spawner_workspace", "spawner_entry", "spawner_next"]) {
        document.cookie = `${prefix}${name}=${"e".repeat(43)}; Domain=${domain}; Path=/; Secure`;
        document.cookie = `${prefix}${name}=${"e".repeat(43)}; Domain=${domain}; Path=/api/user; Secure`;
      }
    }
  }

  // Reach for windows, sockets and workers.
  got["opener"] = String(window.opener);
  const opened = window.open(`${home}/`);
  got["window"] = await outcome(async () => {
    await new Promise((done) => setTimeout(done, wait));
    if (opened === null || opened.closed) return "nothing";
    opened.postMessage("hello", "*");
    return opened.document.body.innerText;
  });
  for (const [name, url] of [["sibling", sibling], ["home", home], ["own", location.origin]]) {
    got[`${name}'s socket`] = await outcome(
      () =>
        new Promise((done) => {
          const socket = new WebSocket(`${url.replace("http", "ws")}/ws`);
          socket.onopen = () => done("open");
          socket.onerror = () => done("nothing");
        }),
    );
  }
  for (const scope of [`${sibling}/`, `${home}/`]) {
    got[`worker for ${scope === `${home}/` ? "home" : "sibling"}`] = await outcome(async () => {
      await navigator.serviceWorker.register("/worker.js", { scope });
      return "registered";
    });
  }
  return got;
}
