/** Boots one emulated machine in a process of its own, and says how much memory that took at most. */
import { boot } from '../../src/operations/boot.ts';

const [url = '', anchors = '', now = ''] = process.argv.slice(2);
const verdict = await boot({ url, anchors, now: Number(now) });
process.send?.({
  verified: verdict.verified,
  refusal: verdict.refusal?.message,
  // The kernel's high-water mark, KiB.
  peak: process.resourceUsage().maxRSS,
});
