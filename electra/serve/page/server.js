// The server's side of every question: requests, and its refusals put into words.

const PATIENCE_MS = 30000;
const LONGEST_WAIT_S = 60;

export const access = {
  token: sessionStorage.getItem("electra.token") ?? "",
  use(token) {
    this.token = token;
    sessionStorage.setItem("electra.token", token);
  },
};

/** What went wrong, in words for the reader. `kind`: gone, slow, token, busy, refused, failed. `wait`: seconds until another try makes sense. */
export class Trouble extends Error {
  constructor(kind, words, wait = null) {
    super(words);
    this.kind = kind;
    this.wait = wait;
  }
}

/** GET, or POST where a body is given -> the parsed answer; `heed` gets its headers. Throws Trouble; an aborted request throws AbortError. */
export async function request(path, { body = undefined, signal = undefined, heed = () => {} } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (access.token) headers.Authorization = `Bearer ${access.token}`;
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const signals = signal ? AbortSignal.any([signal, patience]) : patience;
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: body === undefined ? undefined : JSON.stringify(body), signal: signals, cache: "no-store" });
    if (response.ok) {
      heed(response.headers);
      return await response.json();
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    if (patience.aborted) throw new Trouble("slow", `No answer within ${PATIENCE_MS / 1000} seconds. Your text is kept; try again, or send less at once.`);
    if (error instanceof SyntaxError) throw new Trouble("failed", "The answer could not be read: something between this page and the server changed it.");
    throw new Trouble("gone", "The server does not answer. Your text is kept.", 3);
  }
  throw refusal(response, await reason(response));
}

/** What the body of a refusal says, whichever of the usual forms it has; "" where it says nothing. */
async function reason(response) {
  try {
    const body = await response.json();
    const said = body.error ?? body.message ?? body.detail ?? "";
    const words = Array.isArray(said) ? said.map((item) => item?.msg ?? String(item)).join("; ") : said;
    return typeof words === "string" ? words.slice(0, 400) : "";
  } catch {
    return "";
  }
}

function refusal(response, said) {
  const detail = said ? ` It says: ${said.replace(/\.?$/, ".")}` : "";
  switch (response.status) {
    case 401:
    case 403:
      return new Trouble("token", access.token ? "The server did not accept this token." : "This server requires a token.");
    case 404:
      return new Trouble("refused", `The server no longer offers this. Reload the page to see what it offers now.${detail}`);
    case 408:
    case 504:
      return new Trouble("slow", `The server gave up on this after its time limit. Your text is kept; try again, or send less at once.${detail}`);
    case 413:
      return new Trouble("refused", `This is more than the server accepts at once. Your text is kept; shorten it.${detail}`);
    case 429:
      return new Trouble("busy", "The server is overloaded. Your text is kept.", waitOf(response, 2));
    case 502:
    case 503:
      return new Trouble("busy", `The server cannot answer at the moment. Your text is kept.${detail}`, waitOf(response, 5));
    default:
      if (response.status >= 500) return new Trouble("failed", `The server failed (error ${response.status}). Your text is kept.${detail}`);
      return new Trouble("refused", said ? said.replace(/\.?$/, ".") : `The server rejected this (error ${response.status}).`);
  }
}

/** Retry-After, in seconds or as a date -> seconds, 1..60. */
function waitOf(response, usual) {
  const said = response.headers.get("Retry-After");
  const seconds = said === null ? usual : Number.isFinite(Number(said)) ? Number(said) : (Date.parse(said) - Date.now()) / 1000;
  return Math.min(LONGEST_WAIT_S, Math.max(1, Math.ceil(Number.isFinite(seconds) ? seconds : usual)));
}
