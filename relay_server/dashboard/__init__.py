"""The dashboard: pages for people, over the operations that the JSON API calls.

Pages are made on the server and whole without JavaScript, which makes them live. A page takes a
session's cookie and nothing else; the API takes a bearer token and nothing else: so no page that a
browser is tricked into can use the API, and no token has to be kept in a browser.

    visit      who visits: hosts, cookies, sessions, forms; what every answer's headers say
    rendering  Jinja, and how values look
    assets     style sheet, scripts and marks, by names that change with them
    login …    the pages, a module for each noun
"""
