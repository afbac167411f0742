/** Calls the HTTP API of a hub and turns problem documents into errors. */

interface Problem {
  readonly code: string;
  readonly detail: string;
}

/** The hub said no. */
export class HubProblem extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(`${problem.detail} (${problem.code})`);
    this.problem = problem;
  }
}

const timeoutMs = 15_000;

export class HubClient {
  readonly url: string;
  readonly token: string | undefined;
  readonly #base: string;
  readonly #signal: AbortSignal | undefined;

  constructor(url: string, token: string | undefined, signal?: AbortSignal) {
    this.url = url;
    this.#signal = signal;
    this.#base = `${url.replace(/\/$/, '')}/api/federation`;
    this.token = token;
  }

  /** The same, whose calls end with the signal. */
  until(signal: AbortSignal): HubClient {
    return new HubClient(this.url, this.token, signal);
  }

  /** `T` is the shape that `docs/openapi.yaml` gives for the path. Throws `HubProblem`, or an error when nobody answers. */
  get<T>(path: string, query: Readonly<Record<string, string | undefined>> = {}): Promise<T> {
    return this.#call<T>('GET', withQuery(path, query));
  }

  /** The answer with its body as it comes, for what is too long to hold. No time limit. Paths are as URLs have them. */
  async open(
    path: string,
    query: Readonly<Record<string, string | undefined>> = {},
    signal = this.#signal ?? null,
  ): Promise<Response> {
    const headers: Record<string, string> = this.token ? { authorization: `Bearer ${this.token}` } : {};
    const response = await fetch(this.#base + withQuery(path, query), { headers, signal }).catch((error: unknown) => {
      throw new Error(`no hub answers at ${this.#base}`, { cause: error });
    });
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  /** What Prometheus reads, as text. Throws `HubProblem`, or an error when nobody answers. */
  async metrics(): Promise<string> {
    return (await this.open('/../../metrics', {}, this.#inTime())).text();
  }

  post<T>(path: string, body?: object): Promise<T> {
    return this.#call<T>('POST', path, body);
  }

  delete<T>(path: string): Promise<T> {
    return this.#call<T>('DELETE', path);
  }

  put<T>(path: string, body: object): Promise<T> {
    return this.#call<T>('PUT', path, body);
  }

  async #call<T>(method: string, path: string, body?: object): Promise<T> {
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    if (body) headers['content-type'] = 'application/json';
    const request: RequestInit = { method, headers, signal: this.#inTime() };
    if (body) request.body = JSON.stringify(body);
    const response = await fetch(this.#base + path, request).catch((error: unknown) => {
      throw new Error(`no hub answers at ${this.#base}`, { cause: error });
    });
    if (!response.ok) throw await problemOf(response);
    return (await response.json().catch(() => undefined)) as T; // the hub's own schema made it
  }

  #inTime(): AbortSignal {
    const late = AbortSignal.timeout(timeoutMs);
    return this.#signal ? AbortSignal.any([this.#signal, late]) : late;
  }
}

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined);
  const search = new URLSearchParams(given).toString();
  return search ? `${path}?${search}` : path;
}

async function problemOf(response: Response): Promise<HubProblem> {
  const answer: unknown = await response.json().catch(() => undefined);
  const { code = 'failed', detail = `HTTP ${response.status}` } = (answer ?? {}) as Partial<Problem>;
  return new HubProblem({ code, detail });
}
