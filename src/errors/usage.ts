/** An operator's mistake: words, flags or files that cannot be meant. Exit status 2; nothing was judged. */
export class UsageError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UsageError';
  }
}
