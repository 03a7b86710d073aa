% # The beginning of a form for signing in, which carries on what was typed before. Wants: page; the form's action or "".
% carried = page.kept and page.kept.is_short
<form class="form" method="post" action="{{url(get('action', '') or 'login')}}"
% if carried:
  enctype="multipart/form-data"
% end
>
% include('_token.tpl')
% if carried:
  <input type="hidden" name="draft" value="{{page.kept.text}}">
% end
% if page.after:
  <input type="hidden" name="after" value="{{page.after}}">
% end
