import { defineConfig } from 'vite';

export default defineConfig({
  esbuild: { jsx: 'automatic' },
  // Grafana's packages read NODE_ENV as a bundler gives it.
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'globalThis' },
  build: { outDir: 'dist', chunkSizeWarningLimit: 10000, target: 'esnext' },
});
