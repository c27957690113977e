// Builds the page into one file that needs nothing else: no CDN, no second request.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defineConfig } from "vite";

const HERE = import.meta.dirname;
// What the page is made of. tests/viewer/test_page.py reads the same list in Python.
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.js", "src"];

/** Every source file, in the order of its path. */
function sourceFiles() {
  const files = SOURCES.flatMap((name) =>
    name === "src"
      ? readdirSync(join(HERE, name), { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => relative(HERE, join(entry.parentPath, entry.name)))
      : [name],
  );
  return files.map((file) => file.split(sep).join("/")).sort();
}

/** One hash over the sources: of each its path, a NUL, its text, a NUL. */
function sourceHash() {
  const hash = createHash("sha256");
  for (const file of sourceFiles()) {
    hash.update(`${file}\0`).update(readFileSync(join(HERE, file))).update("\0");
  }
  return hash.digest("hex");
}

const sha256 = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** What the page may do: run its own script and ask its own server, nothing else. */
function policy(script, style) {
  return [
    "default-src 'none'",
    `script-src ${sha256(script)}`,
    `style-src ${sha256(style)}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

/** The licences of what is built in. */
function licences() {
  return ["preact", "@dagrejs/dagre", "@dagrejs/graphlib"]
    .map((name) => `${name}\n\n${readFileSync(join(HERE, "node_modules", name, "LICENSE"), "utf8").replaceAll("--", "- -")}\n`)
    .join("\n");
}

/** Put script and style into the HTML, and drop their own files. */
function oneFile() {
  return {
    name: "one-file",
    enforce: "post",
    generateBundle(_options, bundle) {
      const files = Object.values(bundle);
      const chunks = files.filter((file) => file.type === "chunk");
      const styles = files.filter((file) => file.fileName.endsWith(".css"));
      if (chunks.length !== 1 || styles.length !== 1) {
        this.error(`one script and one style are needed, not ${Object.keys(bundle).join(", ")}`);
      }
      const script = chunks[0].code.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
      const style = String(styles[0].source);
      const page = readFileSync(join(HERE, "index.html"), "utf8")
        .replace(/\s*<script[^]*<\/script>/, "")
        .replace("</head>", () =>
          [
            `  <meta http-equiv="Content-Security-Policy" content="${policy(script, style)}">`,
            `<meta name="agentflow-sources" content="${sourceHash()}">`,
            `<style>${style}</style>`,
            "</head>",
          ].join("\n"),
        )
        .replace("<html", () => `<!--\n${licences()}-->\n<html`)
        .replace("</body>", () => `<script type="module">${script}</script>\n</body>`);
      for (const file of Object.keys(bundle)) delete bundle[file];
      this.emitFile({ type: "asset", fileName: "page.html", source: page });
    },
  };
}

export default defineConfig({
  root: HERE,
  plugins: [oneFile()],
  build: {
    outDir: process.env.PAGE_OUT ?? join(HERE, "../agentflow/viewer"),
    emptyOutDir: false,
    modulePreload: false,
    cssCodeSplit: false,
    target: "es2022",
  },
  test: { include: ["test/**/*.test.ts"] },
});
