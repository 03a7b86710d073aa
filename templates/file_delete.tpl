% rebase('layout.tpl')
<div class="head"><div><h1>{{title}}</h1>
  <p class="note"><bdi>{{page.form_title}}</bdi></p></div></div>
% if page.gone:
<p class="notice" role="status">{{t("several.gone_before", n=page.gone)}}</p>
% end
% if page.rows:
<form class="form several-asked" method="post" action="{{page.action}}">
%   include('_token.tpl')
  <input type="hidden" name="do" value="delete">
  <p>{{!t.html("files.goes", what=t.tag("strong", page.goes))}}</p>
%   if page.kept:
  <p class="notice bad" role="status">{{t("files.kept", n=page.kept)}}</p>
%   end
  <p>{{page.note}}</p>
%   include('_entries.tpl', entries=page.rows)
  <div class="actions"><button class="button danger solid" name="sure" value="1">{{t("files.delete_now")}}</button>
    <a class="button" href="{{page.back_href}}">{{t("form.cancel")}}</a></div>
</form>
% else:
<p><a href="{{page.back_href}}">{{t("several.back", name=page.back)}}</a></p>
% end
