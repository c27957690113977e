import { field, isObject, list, shortName, text, visible, type Json } from "../model/json";
import { CopyButton } from "./parts";
import { LongText } from "./Value";

/** How deep causes and members of groups are followed. */
const DEEPEST = 8;

export function ErrorView({ error, depth = 0, as = "" }: { error: Json; depth?: number; as?: string }) {
  if (!isObject(error) || depth > DEEPEST) return null;
  const type = text(field(error, "type"), "error");
  const traceback = text(field(error, "traceback"));
  const cause = field(error, "cause");
  return (
    <div class="error" data-testid="error">
      <div class="error-head">
        {as && <span class="muted">{as} </span>}
        <strong title={visible(type)}>{visible(shortName(type))}</strong>
      </div>
      <div class="error-message"><LongText text={text(field(error, "message"))} plain /></div>
      {list(field(error, "notes")).map((note, index) => <div key={index} class="muted small">{visible(text(note))}</div>)}
      {traceback && (
        <details open={depth === 0}>
          <summary>traceback</summary>
          <pre class="traceback"><LongText text={traceback} plain /></pre>
          <CopyButton label="copy traceback" text={() => traceback} />
        </details>
      )}
      {isObject(cause) && <ErrorView error={cause} depth={depth + 1} as="caused by" />}
      {list(field(error, "exceptions")).map((inner, index) => <ErrorView key={index} error={inner} depth={depth + 1} as="member" />)}
    </div>
  );
}
