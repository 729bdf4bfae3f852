/**
 * Does some work for each of many, so many at a time, in their order. Where one fails no other is begun, those under way come
 * to their end first, and what failed first is thrown.
 *
 * @param most at a time.
 * @returns what each gave, in their order.
 */
export async function eachAtOnce<Item, Answer>(
  items: readonly Item[],
  most: number,
  work: (item: Item) => Promise<Answer>,
): Promise<Answer[]> {
  const answers: Answer[] = new Array(items.length);
  const queue = items.entries();
  let failed: { readonly error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    for (const [at, item] of queue) {
      try {
        answers[at] = await work(item);
      } catch (error) {
        failed ??= { error };
      }
      if (failed) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, lane));
  if (failed) throw failed.error;
  return answers;
}

/** Lets one piece of work begin when the one before has ended, however it ended. */
export function oneByOne(): <Answer>(work: () => Promise<Answer>) => Promise<Answer> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const mine = last.then(work, work);
    last = mine;
    return mine;
  };
}
