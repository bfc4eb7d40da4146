// Signing in with a passkey, adding one, and seeing the password that is typed. Every page works without it.

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const able = window.isSecureContext && "PublicKeyCredential" in window;

async function send(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), redirect: "error",
  });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

function named(list) {
  return (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));
}

async function prove(purpose) {
  const asked = await send("/login/passkey/options", { purpose });
  const found = await navigator.credentials.get({
    publicKey: { ...asked, challenge: bytes(asked.challenge), allowCredentials: named(asked.allowCredentials) },
  });
  const { response } = found;
  return {
    id: found.id, rawId: text(found.rawId), type: found.type,
    response: {
      clientDataJSON: text(response.clientDataJSON), authenticatorData: text(response.authenticatorData),
      signature: text(response.signature), userHandle: response.userHandle ? text(response.userHandle) : null,
    },
  };
}

async function register(name) {
  const asked = await send("/admin/account/passkeys/options", {});
  const made = await navigator.credentials.create({
    publicKey: {
      ...asked, challenge: bytes(asked.challenge), user: { ...asked.user, id: bytes(asked.user.id) },
      excludeCredentials: named(asked.excludeCredentials),
    },
  });
  const { response } = made;
  return {
    name,
    credential: {
      id: made.id, rawId: text(made.rawId), type: made.type,
      response: { clientDataJSON: text(response.clientDataJSON), attestationObject: text(response.attestationObject) },
    },
  };
}

async function run(button) {
  const place = button.closest("section") ?? document;
  const error = place.querySelector("[data-passkey-error]");
  button.disabled = true;
  try {
    const purpose = button.dataset.passkey;
    const done = purpose === "add"
      ? await send("/admin/account/passkeys/add", await register(place.querySelector("[data-passkey-name]").value))
      : await send("/login/passkey", { purpose, next: button.dataset.next, credential: await prove(purpose) });
    location.assign(done.go);
  } catch {
    if (error) error.hidden = false;
  } finally {
    button.disabled = false;
  }
}

for (const place of document.querySelectorAll("[data-passkey-door]")) place.hidden = !able;
for (const eye of document.querySelectorAll("[data-eye]")) eye.hidden = false;

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-passkey]");
  if (button) run(button);
  const eye = event.target.closest("[data-eye]");
  if (eye) {
    const field = document.getElementById(eye.dataset.eye);
    const shown = field.type === "text";
    field.type = shown ? "password" : "text";
    eye.setAttribute("aria-pressed", String(!shown));
  }
});
