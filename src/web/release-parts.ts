import type { ReleaseRow, Tone } from './facts.ts';
import { type Html, html } from './html.ts';
import { counted } from './values.ts';

/** Whether machines boot a release, in plain words: the one place where the pages say so. */
export function releaseState({ drifted, ended, cut, former }: ReleaseRow): {
  readonly tone: Tone;
  readonly words: string;
} {
  if (cut) return { tone: 'bad', words: `nothing of it is served any more: ${ended ?? ''}` };
  if (ended !== undefined) return { tone: 'bad', words: `new boots have ended: ${ended}` };
  if (drifted.length > 0)
    return {
      tone: 'bad',
      words: `it cannot be booted: ${counted(drifted.length, 'file is', 'files are')} not what was verified`,
    };
  if (former) return { tone: 'quiet', words: 'no channel names it any more; who runs it keeps it' };
  return { tone: 'good', words: 'machines boot it' };
}

export function releaseBadges(row: ReleaseRow): Html {
  const { tone, words } = releaseState(row);
  return html`<span class="badge ${tone}">${words}</span>
<span class="badge ${row.anchored ? 'good' : 'warn'}">${row.anchored ? 'verified under the site’s anchors' : 'unanchored: seals agree, nobody vouches for them'}</span>
${row.unverified > 0 && html`<span class="badge warn">nobody verifies ${counted(row.unverified, 'thing')} of it</span>`}`;
}
