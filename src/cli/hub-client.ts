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
  readonly #base: string;
  readonly #token: string | undefined;

  constructor(url: string, token: string | undefined) {
    this.#base = `${url.replace(/\/$/, '')}/api/federation`;
    this.#token = token;
  }

  /** `T` is the shape that `docs/openapi.yaml` gives for the path. Throws `HubProblem`, or an error when nobody answers. */
  get<T>(path: string, query: Readonly<Record<string, string | undefined>> = {}): Promise<T> {
    const given = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined);
    const search = new URLSearchParams(given).toString();
    return this.#call<T>('GET', search ? `${path}?${search}` : path);
  }

  post<T>(path: string, body?: object): Promise<T> {
    return this.#call<T>('POST', path, body);
  }

  async #call<T>(method: string, path: string, body?: object): Promise<T> {
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    if (body) headers['content-type'] = 'application/json';
    const request: RequestInit = { method, headers, signal: AbortSignal.timeout(timeoutMs) };
    if (body) request.body = JSON.stringify(body);
    const response = await fetch(this.#base + path, request).catch((error: unknown) => {
      throw new Error(`no hub answers at ${this.#base}`, { cause: error });
    });
    const answer: unknown = await response.json().catch(() => undefined);
    if (response.ok) return answer as T; // the hub's own schema made it
    const { code = 'failed', detail = `HTTP ${response.status}` } = (answer ?? {}) as Partial<Problem>;
    throw new HubProblem({ code, detail });
  }
}
