/**
 * What HTTP itself answers to a request that it cannot take: a method that a page does not know, a range beyond the
 * end, a condition that fails. It judges no content, so it is no refusal.
 */
export class HttpAnswer extends Error {
  readonly status: number;
  readonly fields: Readonly<Record<string, string>>;

  /** @param message one sentence for the client. @param fields header fields beside the usual ones. */
  constructor(status: number, message: string, fields: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'HttpAnswer';
    this.status = status;
    this.fields = fields;
  }
}
