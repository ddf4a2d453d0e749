import { type TemplateResult, html, nothing } from 'lit';

/** Inputs for axes of a tensor and indices along them. */

export function axisChoice(
  label: string,
  shape: readonly number[],
  value: number,
  options: {
    /** What -1 is called, where it can be chosen. */
    readonly none?: string | undefined;
    readonly isOpen?: (axis: number) => boolean;
    readonly change: (axis: number) => void;
  },
): TemplateResult {
  const { none, isOpen, change } = options;
  const axes = [...shape.keys()].filter((axis) => axis === value || (isOpen?.(axis) ?? true));
  return html`<label
    >${label}
    <select
      @change=${(event: Event) => {
        change(Number((event.target as HTMLSelectElement).value));
      }}
    >
      ${none === undefined ? nothing : html`<option value="-1" .selected=${value === -1}>${none}</option>`}
      ${axes.map((axis) => html`<option value=${axis} .selected=${axis === value}>axis ${axis} (${shape[axis]})</option>`)}
    </select></label
  >`;
}

/** A whole number from 0 to `most`. */
export function numberInput(
  label: string,
  value: number,
  most: number,
  change: (value: number) => void,
): TemplateResult {
  return html`<label
    >${label}
    <input
      type="number"
      min="0"
      max=${most}
      .value=${String(value)}
      @change=${(event: Event) => {
        const own = Math.floor(Number((event.target as HTMLInputElement).value));
        change(Math.min(Math.max(Number.isFinite(own) ? own : 0, 0), most));
      }}
    />
    <span class="muted">of ${most + 1}</span></label
  >`;
}
