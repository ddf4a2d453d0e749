import {
  provideVSCodeDesignSystem,
  vsCodeButton,
  vsCodeRadio,
  vsCodeRadioGroup,
  vsCodeTag,
} from '@vscode/webview-ui-toolkit';
import { type TemplateResult, html } from 'lit';

/**
 * The only file that knows the component library. The toolkit is deprecated upstream; another set
 * (vscode-elements, say) would be put in here and nowhere else.
 */
provideVSCodeDesignSystem().register(vsCodeButton(), vsCodeRadio(), vsCodeRadioGroup(), vsCodeTag());

export interface ButtonOptions {
  label: string;
  /** Longer name for screen readers and the tooltip; it contains the label, so that speech control finds it. */
  title?: string;
  primary?: boolean;
  onClick: () => void;
}

export function button({ label, title, primary, onClick }: ButtonOptions): TemplateResult {
  return html`<vscode-button
    appearance=${primary === true ? 'primary' : 'secondary'}
    title=${title ?? label}
    aria-label=${title ?? label}
    @click=${onClick}
    >${label}</vscode-button
  >`;
}

export function tag(text: string): TemplateResult {
  return html`<vscode-tag>${text}</vscode-tag>`;
}

export interface ChoiceOptions<T extends string> {
  label: string;
  value: T;
  choices: readonly { value: T; label: string }[];
  onChange: (value: T) => void;
}

/** One of a few, as radio buttons. */
export function choice<T extends string>({ label, value, choices, onChange }: ChoiceOptions<T>): TemplateResult {
  const changed = (event: Event): void => {
    const picked = choices.find((option) => option.value === (event.target as HTMLInputElement).value);
    if (picked && picked.value !== value) {
      onChange(picked.value);
    }
  };
  return html`<vscode-radio-group orientation="horizontal" aria-label=${label} @change=${changed}>
    ${choices.map(
      (option) =>
        html`<vscode-radio value=${option.value} ?checked=${option.value === value} .checked=${option.value === value}
          >${option.label}</vscode-radio
        >`,
    )}
  </vscode-radio-group>`;
}
