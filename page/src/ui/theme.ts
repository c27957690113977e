import { useEffect, useState } from "preact/hooks";

export type Theme = "light" | "dark";
const KEY = "agentflow-theme";
const DARK = "(prefers-color-scheme: dark)";

/** As the system has it, until somebody chooses; the choice is kept where that is possible. */
export function useTheme(): [Theme, () => void] {
  const [chosen, choose] = useState<Theme | null>(stored);
  const [system, setSystem] = useState<Theme>(() => (matchMedia(DARK).matches ? "dark" : "light"));
  useEffect(() => {
    const query = matchMedia(DARK);
    const changed = () => setSystem(query.matches ? "dark" : "light");
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  const theme = chosen ?? system;
  document.documentElement.dataset["theme"] = theme;
  const next = () => {
    const other = theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, other);
    } catch {
      // Without storage it lasts until the page is closed.
    }
    choose(other);
  };
  return [theme, next];
}

function stored(): Theme | null {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "dark" || kept === "light" ? kept : null;
  } catch {
    return null;
  }
}
