import { type Frame, renderDocument, UI } from './frame.ts';
import { html } from './html.ts';

/** What came of a form, where it is not simply done. */
export interface FormFacts {
  /** `Not armed` */
  readonly title: string;
  /** One sentence. */
  readonly why: string;
  /** What somebody with a key does instead. */
  readonly command?: string;
  /** Where the form stands. */
  readonly back: string;
}

export function renderForm(frame: Frame, { title, why, command, back }: FormFacts): string {
  const body = html`
<section class="card reason" aria-labelledby="h-form"><h1 id="h-form">${title}</h1>
<p>${why}</p>
${command !== undefined && html`<p>Where the keys are:</p><pre tabindex="0" aria-label="The command">${command}</pre>`}
<p><a href="${back}">Back</a></p></section>`;
  return renderDocument({ ...frame, title, current: `${UI}/machines`, follows: 'none', body });
}
