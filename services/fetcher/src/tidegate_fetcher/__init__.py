"""The fetcher: urls to pages, captcha-requests, delay topics or dead-letter."""
